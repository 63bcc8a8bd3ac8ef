"""Connections to one server, kept at hand for threads.

redis-py makes them, with all that its settings say; what it does between a command and its reply is left out: its
pool's locks and counters, and a look at the socket, cost more than the command itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
from hiredis import pack_command

from otpservice.store.slots import Command

_LOOK_AFTER_SECONDS = 1.0  # a connection that was not used for so long may have been closed by the server


class Lines:
    """Calls to the server of ``client``, each over a connection of its own. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._idle: deque[tuple[Any, float]] = deque()  # the last one used at the end, with when that was

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands, in one round trip; error replies as values. Nothing is sent a second time.

        Raises redis.RedisError or OSError where the server does not take them or does not answer in time.
        """
        connection = self._take()
        try:
            connection.send_packed_command([_packed(commands)], check_health=False)
            replies = [_reply(connection) for _ in commands]
        except BaseException as error:
            self._drop(connection)
            if isinstance(error, redis.ConnectionError):
                self._drop_idle()  # the server went away, or became another one: from these, too
            raise
        self._idle.append((connection, time.monotonic()))
        return replies

    def _take(self) -> Any:
        try:
            connection, used = self._idle.pop()
        except IndexError:
            return self._pool.get_connection()
        if time.monotonic() - used > _LOOK_AFTER_SECONDS and not _is_quiet(connection):
            self._drop(connection)
            return self._pool.get_connection()
        return connection

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        self._pool.release(connection)

    def _drop_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._drop(self._idle.pop()[0])


def _is_quiet(connection: Any) -> bool:
    """Whether a connection is open, and owes nobody a reply."""
    try:
        return not connection.can_read()
    except (redis.RedisError, OSError):
        return False


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def _packed(commands: Sequence[Command]) -> bytes:
    return b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type]
