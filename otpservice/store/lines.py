"""Connections to one server, kept at hand for threads.

redis-py makes them, with all that its settings say; what it does between a command and its reply is left out: its
pool's locks and counters cost more than the command itself.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
from hiredis import pack_command

from otpservice.store.slots import Command


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """A connection, and what tells whether there is anything to read from it."""

    connection: Any
    readable: select.poll

    @property
    def is_quiet(self) -> bool:
        """Whether it is open and owes nobody a reply: what the server has closed can be read to its end."""
        return not self.readable.poll(0)


class Lines:
    """Calls to the server of ``client``, each over a connection of its own. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._idle: deque[_Line] = deque()  # the last one used at the end

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands, in one round trip; error replies as values. Nothing is sent a second time.

        Raises redis.RedisError or OSError where the server does not take them or does not answer in time.
        """
        line = self._take()
        connection = line.connection
        try:
            connection.send_packed_command([_packed(commands)], check_health=False)
            replies = [_reply(connection) for _ in commands]
        except BaseException as error:
            self._drop(line)
            if isinstance(error, redis.ConnectionError):
                self._drop_idle()  # the server went away, or is no master any more: for these, too
            raise
        self._idle.append(line)
        return replies

    def _take(self) -> _Line:
        with suppress(IndexError):
            while True:
                line = self._idle.pop()
                if line.is_quiet:
                    return line
                self._drop(line)
        return _line(self._pool.get_connection())

    def _drop(self, line: _Line) -> None:
        line.connection.disconnect()
        self._pool.release(line.connection)

    def _drop_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._drop(self._idle.pop())


def _line(connection: Any) -> _Line:
    readable = select.poll()
    readable.register(connection._sock, select.POLLIN)  # noqa: SLF001 - redis-py tells its socket by no other name
    return _Line(connection, readable)


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def _packed(commands: Sequence[Command]) -> bytes:
    return b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type]
