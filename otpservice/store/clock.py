"""Redis's clock as seen from here, so that a script can tell that its caller has given up on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from otpservice.store.connection import COMMAND_TIMEOUT_SECONDS

# A script that begins this long after it was sent leaves its answer no time to arrive.
_PATIENCE_MICROSECONDS = int(COMMAND_TIMEOUT_SECONDS * 0.9 * 1_000_000)


class ServerClock:
    """The distance between Redis's clock and this process's monotonic one, measured when it is not known.

    The measure errs to one side only: by the time the answer took, a deadline is earlier than it could be.
    """

    def __init__(self, time: Callable[[], Any]) -> None:
        """``time`` gives Redis's reply to TIME, an error reply as a value, or raises redis.RedisError."""
        self._time = time
        self._offset: int | None = None

    def latest_start(self) -> int:
        """The time on Redis's clock (microseconds since 1970) after which a script sent now must not begin."""
        offset = self._offset
        if offset is None:
            answer = self._time()
            if isinstance(answer, Exception):
                raise answer
            seconds, microseconds = map(int, answer)
            offset = self._offset = seconds * 1_000_000 + microseconds - _now()
        return _now() + offset + _PATIENCE_MICROSECONDS

    def correct(self, server_now: int) -> None:
        """Take Redis's word for what time it is there now, in microseconds since 1970."""
        self._offset = server_now - _now()

    def forget(self) -> None:
        """Measure anew: Redis failed, and what answers next may be another server."""
        self._offset = None


def _now() -> int:
    return time.monotonic_ns() // 1000
