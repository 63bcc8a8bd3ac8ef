"""How a command gets its settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from otpservice.config import Settings, SettingsError, load


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--config``, as ``path``."""
    return click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path),
        envvar="OTPSERVICE_CONFIG",
        required=True,
        help="The settings file (TOML). Also OTPSERVICE_CONFIG.",
    )(command)


def load_settings(path: Path) -> Settings:
    """Read a settings file; every error in it ends the command, with its path in the file."""
    try:
        return load(path, os.environ)
    except SettingsError as error:
        raise click.ClickException(
            f"{path} cannot be used:\n" + "\n".join(f"  {line}" for line in error.errors)
        ) from None
