"""The smallest settings that are right, and ways to make them wrong."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from otpservice.config import Settings, SettingsError, parse

SECRET_KEY = "key-" + "0123456789abcdef" * 2
API_KEY = "mobilgroup-api-key"
DIGEST = "0a" * 32
OTHER_DIGEST = "1b" * 32

_SMALLEST: dict[str, Any] = {
    "secret_keys": [SECRET_KEY],
    "gateways": {"mobilgroup": {"kind": "mobilgroup", "api_key": API_KEY}},
    "tenants": {"signup": {"api_keys": [f"sha256:{DIGEST}"]}},
}


def document(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The smallest right document, with values set at dotted paths; tables on the way are made."""
    made = copy.deepcopy(_SMALLEST)
    for path, value in changes:
        *tables, last = path.split(".")
        table = made
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value
    return made


def without(path: str) -> dict[str, Any]:
    """The smallest right document, but for the key at a dotted path."""
    made = copy.deepcopy(_SMALLEST)
    *tables, last = path.split(".")
    table = made
    for name in tables:
        table = table[name]
    del table[last]
    return made


def read(*changes: tuple[str, Any], environ: dict[str, str] | None = None, base: Path = Path()) -> Settings:
    """The settings that the changed document amounts to."""
    return parse(document(*changes), environ or {}, base)


def errors_of(wrong: dict[str, Any], environ: dict[str, str] | None = None, base: Path = Path()) -> tuple[str, ...]:
    """The errors of a document that must have some."""
    with pytest.raises(SettingsError) as caught:
        parse(wrong, environ or {}, base)
    return caught.value.errors


def error_of(*changes: tuple[str, Any], environ: dict[str, str] | None = None, base: Path = Path()) -> str:
    """The one error of the changed document."""
    (only,) = errors_of(document(*changes), environ, base)
    return only
