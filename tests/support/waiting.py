"""Waiting for something that only shows when one looks, with a deadline instead of a guess."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_PATIENCE_SECONDS = 15.0
_PAUSE_SECONDS = 0.01


def until(condition: Callable[[], object], seconds: float = _PATIENCE_SECONDS) -> None:
    """Return as soon as ``condition`` holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(_PAUSE_SECONDS)


async def until_async(condition: Callable[[], object], seconds: float = _PATIENCE_SECONDS) -> None:
    """The same inside an event loop. ``condition`` does not await."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        await asyncio.sleep(_PAUSE_SECONDS)
