"""Connections to one server, kept at hand for threads.

redis-py makes them, with all that its settings say; what it does between a command and its reply is left out: its
pool's locks and counters cost more than the command itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
from hiredis import pack_command

from otpservice.store.slots import Command


class Lines:
    """Calls to the server of ``client``, each over a connection of its own. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._idle: deque[Any] = deque()  # the last one used at the end
        self._server: object = None  # where the newest connection leads

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands, in one round trip; error replies as values. Nothing is sent a second time.

        Raises redis.RedisError or OSError where the server does not take them or does not answer in time.
        """
        connection = self._take()
        try:
            connection.send_packed_command([packed(commands)], check_health=False)
            replies = [_reply(connection) for _ in commands]
        except BaseException:
            self._drop(connection)
            self._drop_idle()  # the server went away, hangs, or is no master any more: for these, too
            raise
        self._put_back(connection)
        return replies

    def _take(self) -> Any:
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if _is_quiet(connection):
                    return connection
                self._drop(connection)
        connection = self._pool.get_connection()
        server = _server(connection)
        if server != self._server:
            # Sentinels named another master: what still leads to the old one must decide nothing any more.
            self._server = server
            self._drop_idle()
        return connection

    def _put_back(self, connection: Any) -> None:
        if _server(connection) == self._server:
            self._idle.append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        self._pool.release(connection)

    def _drop_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._drop(self._idle.pop())


def _server(connection: Any) -> object:
    """Where a connection leads; that of a socket file never leads elsewhere."""
    return getattr(connection, "host", None), getattr(connection, "port", None)


def _is_quiet(connection: Any) -> bool:
    """Whether a connection is open and owes nobody a reply."""
    try:
        return connection.is_connected and not connection.can_read()
    except (redis.RedisError, OSError):
        return False


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def packed(commands: Sequence[Command]) -> bytes:
    """Commands as they are sent."""
    return b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type]
