"""``otpservice serve``."""

from __future__ import annotations

from pathlib import Path

import click

from otpservice import logs, serving
from otpservice.commands.settings import config_option, load_settings
from otpservice.network import PortTakenError


@click.command()
@config_option
def serve(path: Path) -> None:
    """Serve the API, with a delivery worker inside unless server.delivery is false."""
    settings = load_settings(path)
    logs.configure()
    try:
        serving.serve(settings)
    except PortTakenError as error:
        raise click.ClickException(f"server.port: {error}") from None
