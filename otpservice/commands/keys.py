"""``otpservice keys``."""

from __future__ import annotations

import re
import secrets
from hashlib import sha256

import click

_TENANT = re.compile(r"[a-z0-9_-]{1,32}")


@click.group()
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
