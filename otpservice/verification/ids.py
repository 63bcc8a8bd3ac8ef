"""Verification ids: ``v``, two base-36 digits of the partition, then 22 url-safe characters (128 random bits)."""

from __future__ import annotations

import re
import secrets

MAX_PARTITIONS = 36 * 36
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID = re.compile(r"v[0-9a-z]{2}[A-Za-z0-9_-]{22}")


def new_id(partition: int) -> str:
    """A fresh id in ``partition`` (0 to 1295)."""
    return f"v{_DIGITS[partition // 36]}{_DIGITS[partition % 36]}{secrets.token_urlsafe(16)}"


def partition_of(id: str) -> int | None:
    """The partition that an id names, or None where the text is no id at all."""
    return int(id[1:3], 36) if _ID.fullmatch(id) else None
