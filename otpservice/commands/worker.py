"""``otpservice worker``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from otpservice import delivering, logs
from otpservice.commands.settings import config_option, load_settings


@click.command()
@config_option
def worker(path: Path) -> None:
    """Deliver codes: a worker alone. Run as many as wanted."""
    settings = load_settings(path)
    logs.configure()
    asyncio.run(delivering.work(settings))
