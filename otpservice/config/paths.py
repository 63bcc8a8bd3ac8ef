"""Where in a settings file something stands, and how that is written: ``tenants.signup.limits.number[1]``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from marshmallow.exceptions import SCHEMA

# The keys and list indices from the top of the document down.
Path = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def quoted(text: str) -> str:
    """``text`` in quotes, as TOML and JSON write it, on one line and printable whatever it holds."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def bare_or_quoted(text: str) -> str:
    """A key as TOML writes it: bare where it can be."""
    return text if _BARE_KEY.fullmatch(text) else quoted(text)


def dotted(path: Path) -> str:
    """A path as it is written in messages and table headers."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{bare_or_quoted(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def flatten(messages: object, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every message in marshmallow's nest of dicts and lists, each with its path."""
    if isinstance(messages, dict):
        for step, inner in messages.items():
            yield from flatten(inner, path if step == SCHEMA else (*path, step))
    elif isinstance(messages, list):
        for inner in messages:
            yield from flatten(inner, path)
    else:
        yield path, str(messages)
