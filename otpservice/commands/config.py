"""``otpservice config``."""

from __future__ import annotations

from pathlib import Path

import click

from otpservice.commands.settings import load_settings
from otpservice.config import describe


@click.group()
def config() -> None:
    """Settings files."""


@config.command()
@click.argument("path", type=click.Path(path_type=Path))
def check(path: Path) -> None:
    """Say all that is wrong with a settings file, or what it amounts to."""
    click.echo(describe(load_settings(path)))
