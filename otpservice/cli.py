"""The commands."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from otpservice import __version__, logs, serving
from otpservice.config import Settings, SettingsError, describe, load
from otpservice.demo.command import run_checks, show
from otpservice.demo.environment import DemoError
from otpservice.network import PortTakenError
from otpservice.sandbox import SandboxSettings
from otpservice.sandbox import serve as serve_sandbox

_TENANT = re.compile(r"[a-z0-9_-]{1,32}")


@click.group()
@click.version_option(__version__, package_name="otpservice")
def main() -> None:
    """A self-hosted OTP verification service."""


def _config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path),
        envvar="OTPSERVICE_CONFIG",
        required=True,
        help="The settings file (TOML). Also OTPSERVICE_CONFIG.",
    )(command)


def _load(path: Path) -> Settings:
    try:
        return load(path, os.environ)
    except SettingsError as error:
        raise click.ClickException(
            f"{path} cannot be used:\n" + "\n".join(f"  {line}" for line in error.errors)
        ) from None


@main.command()
@_config_option
def serve(path: Path) -> None:
    """Serve the API, with a delivery worker inside unless server.delivery is false."""
    settings = _load(path)
    logs.configure()
    try:
        serving.serve(settings)
    except PortTakenError as error:
        raise click.ClickException(f"server.port: {error}") from None


@main.command()
@_config_option
def worker(path: Path) -> None:
    """Deliver codes: a worker alone. Run as many as wanted."""
    settings = _load(path)
    logs.configure()
    asyncio.run(serving.work(settings))


@main.command()
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


@main.command()
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


@main.group()
def keys() -> None:
    """API keys."""


@keys.command()
@click.argument("tenant")
def new(tenant: str) -> None:
    """Make an API key for TENANT; it is shown once and stored nowhere."""
    if not _TENANT.fullmatch(tenant):
        raise click.BadParameter("a tenant's name is 1 to 32 of a-z, 0-9, _ and -", param_hint="TENANT")
    key = f"otp_{secrets.token_urlsafe(32)}"
    digest = sha256(key.encode()).hexdigest()
    click.echo(f"API key, shown only now: {key}\n")
    click.echo(f'For the settings:\n\n[tenants.{tenant}]\napi_keys = ["sha256:{digest}"]')


@main.group()
def config() -> None:
    """Settings files."""


@config.command()
@click.argument("path", type=click.Path(path_type=Path))
def check(path: Path) -> None:
    """Say all that is wrong with a settings file, or what it amounts to."""
    click.echo(describe(_load(path)))
