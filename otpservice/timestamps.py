"""Times as text: RFC 3339, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def from_milliseconds(since_1970: int) -> str:
    """``2026-01-01T00:00:00.000Z``."""
    seconds, rest = divmod(since_1970, 1000)
    return f"{_to_the_second(seconds)}.{rest:03d}Z"


def from_nanoseconds(since_1970: int) -> str:
    """``2026-01-01T00:00:00.000000Z``."""
    seconds, rest = divmod(since_1970 // 1000, 1_000_000)
    return f"{_to_the_second(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=4096)  # most of what is told of is of the same few seconds
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
