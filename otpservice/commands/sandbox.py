"""``otpservice sandbox``."""

from __future__ import annotations

import asyncio
import signal
from decimal import Decimal, InvalidOperation

import click

from otpservice import logs
from otpservice.sandbox import SandboxSettings
from otpservice.sandbox import serve as serve_sandbox


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Who can reach it can read every code.")
@click.option("--port", default=8090, show_default=True)
@click.option("--api-key", envvar="OTPSERVICE_SANDBOX_KEY", required=True, help="The key that it lets in.")
@click.option("--balance", default="1000.00", show_default=True, help="The money on the account.")
def sandbox(host: str, port: int, api_key: str, balance: str) -> None:
    """The stand-in gateway alone, with the page that shows the phones."""
    logs.configure()
    try:
        settings = SandboxSettings(api_key=api_key, balance=Decimal(balance))
    except InvalidOperation:
        raise click.ClickException(f"balance: {balance!r} is no amount") from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    try:
        asyncio.run(_run_sandbox(settings, host, port))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None


async def _run_sandbox(settings: SandboxSettings, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve_sandbox(settings, host, port, ready=lambda url: click.echo(f"The phones are at {url}"), stop=stop)
