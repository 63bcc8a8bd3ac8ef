"""Verification ids: ``v``, two base-36 digits of the partition, then 22 url-safe characters (128 random bits)."""

from __future__ import annotations

import os
import re
import secrets
from base64 import urlsafe_b64encode
from collections import deque

MAX_PARTITIONS = 36 * 36
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID = re.compile(r"v[0-9a-z]{2}[A-Za-z0-9_-]{22}")
_RANDOM_BYTES = 16
_DRAWN_AT_ONCE = 256

# Random bytes for the ids to come, each taken once. Asking the system for so few at every start would let another
# thread run each time, and costs a start more than anything else that it does without Redis.
_drawn: deque[bytes] = deque()
os.register_at_fork(after_in_child=_drawn.clear)  # or two processes would make the same ids


def new_id(partition: int) -> str:
    """A fresh id in ``partition`` (0 to 1295)."""
    random = urlsafe_b64encode(_draw())[:22].decode()
    return f"v{_DIGITS[partition // 36]}{_DIGITS[partition % 36]}{random}"


def partition_of(id: str) -> int | None:
    """The partition that an id names, or None where the text is no id at all."""
    return int(id[1:3], 36) if _ID.fullmatch(id) else None


def _draw() -> bytes:
    try:
        return _drawn.pop()
    except IndexError:
        drawn = secrets.token_bytes(_RANDOM_BYTES * _DRAWN_AT_ONCE)
        _drawn.extend(drawn[at : at + _RANDOM_BYTES] for at in range(_RANDOM_BYTES, len(drawn), _RANDOM_BYTES))
        return drawn[:_RANDOM_BYTES]
