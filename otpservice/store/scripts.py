"""The Lua scripts: read once, called by the digest of their content.

EVALSHA rather than Redis Functions: two versions of the service that keep their data alike run side by side during a
rolling deploy, and each calls its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from textwrap import indent
from typing import Any

from otpservice.store import keys
from otpservice.verification.abuse import micro_units

_INCLUDE = "-- include "
_FOLDER = files("otpservice.store") / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One script. ``sha`` is what Redis knows it by."""

    name: str
    source: str
    sha: str


def _load(name: str) -> Script:
    """Read ``lua/<name>.lua``, with the files of ``lua/lib/`` that its include lines name put in their place.

    Redis makes every function of a script anew in each call: what few calls need is included where they need it.
    """
    lines = []
    for line in (_FOLDER / f"{name}.lua").read_text("utf-8").splitlines():
        block, is_include, parts = line.partition(_INCLUDE)
        if is_include and not block.strip():
            lines += [indent((_FOLDER / "lib" / f"{part}.lua").read_text("utf-8"), block) for part in parts.split()]
        else:
            lines.append(line)
    source = "\n".join(lines)
    # Redis names a script by its SHA-1; this guards nothing.
    return Script(name, source, sha1(source.encode(), usedforsecurity=False).hexdigest())


START = _load("start")
VERIFY = _load("verify")
RESEND = _load("resend")
CANCEL = _load("cancel")
GET = _load("get")
LIMIT = _load("limit")
REFUND = _load("refund")
THROTTLE = _load("throttle")
COUNT = _load("count")
REPORT = _load("report")
ARM = _load("arm")
SETTLE = _load("settle")

Argument = str | int
Reply = Any  # what a script returns: each one's header says

HANDED_OVER, VERIFIED = "s", "v"  # what the watch on a prefix counts


def count_arguments(kind: str, tenant: str, watched: str, created: int) -> tuple[list[str], list[Argument]]:
    """Keys and arguments of COUNT. ``watched`` is what the verification knows of its watch, ``created`` in ms."""
    _, slice_ms, slices = watched.rsplit(":", 2)
    return [keys.watch(tenant, watched)], [kind, created, slice_ms, slices]


def price_argument(price: str | None) -> Argument:
    """A gateway's price in micro-units, as the scripts read it; empty where there is none that can be read."""
    try:
        return micro_units(price) if price is not None else ""
    except ValueError:
        return ""
