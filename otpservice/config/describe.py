"""What a settings file amounts to, for people: every setting that is in force, secrets hidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any

from otpservice.config import paths
from otpservice.config.settings import RedisSettings, Secret, Settings, TenantSettings
from otpservice.verification.limits import write_span

_HIDDEN = "***"
_SHOWN_OF_A_DIGEST = 8


def describe(settings: Settings) -> str:
    """Every setting in force as TOML, each tenant with what it takes from the general part.

    It is for reading, not for loading again: secrets are ``***``, digests cut, passwords in URLs hidden.
    """
    return "\n".join(_table((), settings)) + "\n"


def _table(path: paths.Path, table: object) -> Iterator[str]:
    """The lines of a table: first its own values, then the tables in it."""
    inner: list[tuple[str, Any]] = []
    for key, value in _entries(table):
        if isinstance(value, Mapping) or is_dataclass(value):
            inner.append((key, value))
        elif value is None:
            yield f"# {key} is not set"
        else:
            yield f"{paths.bare_or_quoted(key)} = {_value(value)}"
    for key, value in inner:
        header = (*path, key)
        if not isinstance(value, Mapping) or not any(is_dataclass(entry) for entry in value.values()):
            yield f"\n[{paths.dotted(header)}]"
        yield from _table(header, value)


def _entries(table: object) -> Iterator[tuple[str, Any]]:
    if isinstance(table, Mapping):
        yield from table.items()
        return
    for each in fields(table):  # type: ignore[arg-type]  # a dataclass, as _table says
        if each.name == "name":
            continue  # it is in the header
        value = getattr(table, each.name)
        if isinstance(table, RedisSettings) and each.name == "url":
            value = _without_password(table.url)
        elif isinstance(table, TenantSettings) and each.name == "api_keys":
            value = tuple(f"sha256:{digest[:_SHOWN_OF_A_DIGEST]}..." for digest in table.api_keys)
        yield each.name, value


def _value(value: object) -> str:  # noqa: PLR0911 - a table
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:.15g}" if isinstance(value, float) else str(value)
        case Secret():
            return paths.quoted(_HIDDEN)
        case frozenset():
            return _value(tuple(sorted(value)))
        case tuple():
            return f"[{', '.join(_value(each) for each in value)}]"
        case timedelta():
            return paths.quoted(write_span(round(value.total_seconds())))
        case _:
            return paths.quoted(str(value))


def _without_password(url: Secret) -> str:
    # Not by urlsplit, which knows nothing of several hosts: it takes a bracket anywhere for that of an IPv6 address.
    scheme, _, rest = url.reveal().partition("://")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    credentials, at, servers = authority.rpartition("@")
    # A user alone is hidden too, as it may be a token, and any query, as redis-py takes a password there.
    shown = f"{scheme}://{_HIDDEN if credentials else ''}{at}{servers}{slash}{path}"
    return shown + (f"?{_HIDDEN}" if query else "")
