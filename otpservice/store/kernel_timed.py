"""Connections whose time-outs the kernel keeps.

With a time-out of Python's own each send and each receive is two system calls, and lets go of the interpreter's lock
twice: under load every one of those is a turn that another thread takes.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import redis
from redis.sentinel import SentinelManagedConnection


class _KernelTimed:
    """``socket_timeout`` as SO_RCVTIMEO and SO_SNDTIMEO, so of each system call.

    Raises redis.TimeoutError as any connection does.
    """

    def _connect(self) -> socket.socket:
        connected: socket.socket = super()._connect()  # type: ignore[misc]
        timeout = struct.pack("ll", *_seconds_and_microseconds(self.socket_timeout))  # type: ignore[attr-defined]
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        connected.settimeout(None)
        return connected

    def send_packed_command(self, *args: Any, **options: Any) -> None:
        try:
            super().send_packed_command(*args, **options)  # type: ignore[misc]
        except redis.ConnectionError as error:
            raise _told_apart(error, "writing to") from None

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except redis.ConnectionError as error:
            raise _told_apart(error, "reading from") from None


class PlainConnection(_KernelTimed, redis.Connection):
    """Over TCP."""


class SocketFileConnection(_KernelTimed, redis.UnixDomainSocketConnection):
    """To a socket file."""


class MasterConnection(_KernelTimed, SentinelManagedConnection):
    """Over TCP, to the master that Sentinels name."""


def _told_apart(error: redis.ConnectionError, doing: str) -> redis.RedisError:
    """What redis-py takes for a connection that fails may be a time-out."""
    is_late = isinstance(error.__context__, BlockingIOError)
    return redis.TimeoutError(f"Timeout {doing} socket") if is_late else error


def _seconds_and_microseconds(seconds: float) -> tuple[int, int]:
    """As the kernel takes it: 0 would be for ever."""
    return divmod(max(1, round(seconds * 1_000_000)), 1_000_000)
