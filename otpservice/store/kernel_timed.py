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
        with _time_outs("writing to"):
            super().send_packed_command(*args, **options)  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        with _time_outs("reading from"):
            return super().read_response(*args, **options)  # type: ignore[misc]


class PlainConnection(_KernelTimed, redis.Connection):
    """Over TCP."""


class SocketFileConnection(_KernelTimed, redis.UnixDomainSocketConnection):
    """To a socket file."""


class MasterConnection(_KernelTimed, SentinelManagedConnection):
    """Over TCP, to the master that Sentinels name."""


class _time_outs:  # noqa: N801 - as contextlib names its own; a generator would cost each call more than the call
    """Tells what redis-py takes for a failed connection from one that fails."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, redis.ConnectionError) and isinstance(error.__context__, BlockingIOError):
            raise redis.TimeoutError(f"Timeout {self._doing} socket") from None


def _seconds_and_microseconds(seconds: float) -> tuple[int, int]:
    """As the kernel takes it: 0 would be for ever."""
    return divmod(max(1, round(seconds * 1_000_000)), 1_000_000)
