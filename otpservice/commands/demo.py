"""``otpservice demo``."""

from __future__ import annotations

import asyncio
import sys

import click

from otpservice import logs
from otpservice.demo.command import run_checks, show
from otpservice.demo.environment import DemoError


@click.command()
@click.option("--port", default=8080, show_default=True, help="Where the API listens.")
@click.option("--sandbox-port", default=8090, show_default=True, help="Where the sandbox and its phones are.")
@click.option("--check", "checks", is_flag=True, help="Run one verification of each kind, then exit with 0 or 1.")
def demo(port: int, sandbox_port: int, checks: bool) -> None:
    """Everything on this machine, with nothing to set up."""
    logs.configure(level="warning")
    try:
        if checks:
            sys.exit(0 if asyncio.run(run_checks(port, sandbox_port)) else 1)
        asyncio.run(show(port, sandbox_port))
    except DemoError as error:
        raise click.ClickException(str(error)) from None
