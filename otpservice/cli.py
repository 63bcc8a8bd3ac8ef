"""The ``otpservice`` command.

Each command is imported when it is called: every process of the API begins by importing this module, and needs none.
"""

from __future__ import annotations

from importlib import import_module

import click

from otpservice import __version__

_COMMANDS = ("config", "demo", "keys", "sandbox", "serve", "worker")


class _Commands(click.Group):
    """The commands of ``otpservice.commands``, by the names of their modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"otpservice.commands.{cmd_name}"), cmd_name)
        return command


@click.command(cls=_Commands)
@click.version_option(__version__, package_name="otpservice")
def main() -> None:
    """A self-hosted OTP verification service."""
