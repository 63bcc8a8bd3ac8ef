"""What ``otpservice demo`` prints and how it ends."""

from __future__ import annotations

import asyncio
import signal

import click

from otpservice.demo import check
from otpservice.demo.environment import TENANT, DemoError, Environment, running

_BANNER = """\

  otpservice is running. Ctrl-C stops it.

  API       {api}        documentation: {api}/docs
  Phones    {sandbox}        what a number does is told by its last two digits
  Valkey    {valkey}
  API key   {api_key}    (tenant {tenant})

  Send a code to a phone with Telegram, and see it arrive at {sandbox}:

    curl -s {api}/v1/verifications -H 'Authorization: Bearer {api_key}' \\
      -H 'Content-Type: application/json' -d '{{"number": "+79991234567"}}'

  Verify it, with the id of that answer and the code on the phone:

    curl -s {api}/v1/verifications/ID/verify -H 'Authorization: Bearer {api_key}' \\
      -H 'Content-Type: application/json' -d '{{"code": "CODE"}}'

  Or all of it in one go:

    export KEY={api_key}
    ID=$(curl -s {api}/v1/verifications -H "Authorization: Bearer $KEY" \\
      -H 'Content-Type: application/json' -d '{{"number": "+79991234570", "fallback": "voice"}}' | cut -d'"' -f4)
    curl -s {api}/v1/verifications/$ID -H "Authorization: Bearer $KEY" -H 'Prefer: wait=10'; echo
    CODE=$(curl -s '{sandbox}/messages?number=79991234570' | grep -o '"code": *"[0-9]*"' | head -1 | cut -d'"' -f4)
    curl -si {api}/v1/verifications/$ID/verify -H "Authorization: Bearer $KEY" \\
      -H 'Content-Type: application/json' -d "{{\\"code\\": \\"$CODE\\"}}"
"""


async def show(port: int, sandbox_port: int) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP. Raises DemoError where a part does not come up or does not stay."""
    stop = _stop_on_signals()
    async with running(port, sandbox_port) as (environment, ended):
        if not stop.is_set():
            click.echo(_banner(environment))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if ended.done():
            raise DemoError(f"the service ended by itself, with status {ended.result()}")


async def run_checks(port: int, sandbox_port: int) -> bool:
    """Run one verification of each kind; True where all went as it should."""
    stop = _stop_on_signals()
    async with running(port, sandbox_port, log_to_file=True) as (environment, _):
        failures = 0
        async for result in check.run(environment):
            failures += result.error is not None
            mark = "ok  " if result.error is None else "FAIL"
            click.echo(f"{mark} {result.name:<17} {result.error or result.saw}")
            if stop.is_set():
                return False
    click.echo("all as it should be" if failures == 0 else f"{failures} failed")
    return failures == 0


def _banner(environment: Environment) -> str:
    return _BANNER.format(
        api=environment.api,
        sandbox=environment.sandbox,
        valkey=environment.valkey,
        api_key=environment.api_key,
        tenant=TENANT,
    )


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    return stop
