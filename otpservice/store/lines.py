"""Calls of many threads to one server.

A call that finds the connection free goes out at once. Those that come meanwhile go out together, in one piece, as
soon as what is under way is answered: what a command costs beside being run, here and in the server, is then paid
once for all of them, which makes a sixth more of everything. Nobody is there for that but the threads that call:
whoever has got the replies sends for those that wait, and the first of these gets their replies.

redis-py makes the connections, with all that its settings say; what it does between a command and its reply is left
out: its pool's locks and counters cost more than the command itself.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from threading import Lock
from typing import Any, NamedTuple

import redis
from hiredis import pack_command
from redis.sentinel import SentinelConnectionPool

from otpservice.store.connection import COMMAND_TIMEOUT_SECONDS
from otpservice.store.slots import Command
from otpservice.tracebacks import without_frames

# A script takes tens of microseconds: so many are far from the time that a batch may take, and from what would keep
# another client of Redis waiting.
MOST_CALLS = 200
LONGEST_QUEUE_SECONDS = 0.4  # with the exchange after it, twice (the time, the script), within the promised two
_LONGEST_LIFE_SECONDS = 5.0
_INTERRUPTED = "interrupted by another call"


class QueueTimeoutError(redis.TimeoutError):
    """The connection did not come free in time. Nothing was sent, and the server may be well."""


class _Call:
    """Commands as they are sent, and what came of them."""

    __slots__ = ("_batch", "_error", "_replies", "_woken", "commands", "packed")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.packed = packed(commands)
        self.commands = len(commands)
        self._batch: _Batch | None = None
        self._woken = Lock()
        self._woken.acquire()
        self._replies: list[Any] | None = None
        self._error: Exception | None = None

    def wait(self, seconds: float = -1) -> bool:
        """Until there is an outcome, or something to do for others. Returns whether there is."""
        return self._woken.acquire(timeout=seconds)

    def lead(self, batch: _Batch) -> None:
        self._batch = batch
        self._woken.release()

    def take_batch(self) -> _Batch | None:
        """What is to be done for others, this call among them. Kept, it would hold this call, and this call it."""
        batch, self._batch = self._batch, None
        return batch

    def answer(self, replies: list[Any]) -> None:
        self._replies = replies
        self._woken.release()

    def fail(self, error: Exception) -> None:
        if self._replies is None and self._error is None:
            self._error = without_frames(error)
            self._woken.release()

    def outcome(self) -> list[Any]:
        if self._error is not None:
            raise copy(self._error)  # one for each: whoever raises it leaves its frames on it
        if self._replies is None:
            raise AssertionError("a call ended without an outcome")
        return self._replies


class _Batch(NamedTuple):
    """Calls whose replies one thread gets for all of them, in order, and where they have been sent; None: nowhere."""

    calls: list[_Call]
    connection: Any


class Lines:
    """Calls to the server of ``client``. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._idle: deque[Any] = deque()  # the last one used at the end
        self._server: object = None  # where the newest connection leads
        # Under load one connection may never come to rest; Sentinels are asked for the master where one is made.
        self._life = _LONGEST_LIFE_SECONDS if isinstance(self._pool, SentinelConnectionPool) else math.inf
        self._old_from = math.inf
        self._lock = Lock()  # of the two that follow: only where something is under way does anybody wait
        self._is_busy = False
        self._waiting: list[_Call] = []

    def send(self, commands: Sequence[Command], *, alone: bool = False) -> list[Any]:
        """The replies to commands, in one round trip; error replies as values. Nothing is sent a second time.

        ``alone`` is for those that keep the server waiting: they share no connection with others.
        Raises redis.RedisError or OSError where the server does not take them or does not answer in time,
        QueueTimeoutError where they were not sent.
        """
        call = _Call(commands)
        if alone:
            connection, _ = self._exchange([call], None)
            if connection is not None:
                self._idle.append(connection)
        elif (batch := self._queue(call)) is not None:
            self._lead(*batch)
        return call.outcome()

    def _queue(self, call: _Call) -> _Batch | None:
        """Wait for a turn or an outcome. Returns what it is this call's turn to do, if it is."""
        with self._lock:
            if not self._is_busy:
                self._is_busy = True
                return _Batch([call], None)
            self._waiting.append(call)
        try:
            # Too late, but no longer in the queue: it was sent, or is to be sent by this thread.
            has_waited = call.wait(LONGEST_QUEUE_SECONDS) or (not self._leave(call) and call.wait())
        except BaseException:
            if not self._leave(call) and call.wait() and (batch := call.take_batch()) is not None:
                self._fail(*batch, redis.ConnectionError(_INTERRUPTED))
                self._hand_on(None)
            raise
        if not has_waited:
            raise QueueTimeoutError("the connection did not come free in time")
        return call.take_batch()

    def _leave(self, call: _Call) -> bool:
        """Whether a call still waited, and now does no more."""
        with self._lock:
            is_waiting = call in self._waiting
            if is_waiting:
                self._waiting.remove(call)
        return is_waiting

    def _lead(self, calls: list[_Call], connection: Any) -> None:
        """Give each call its outcome, and the turn to those that wait."""
        left: tuple[Any, Exception | None] = (None, None)
        try:
            left = self._exchange(calls, connection)
        finally:
            connection, error = left
            if isinstance(error, redis.TimeoutError):
                with self._lock:  # they would wait as long for the same server, one batch after the other
                    waiting, self._waiting = self._waiting, []
                for call in waiting:
                    call.fail(error)
            self._hand_on(connection)

    def _hand_on(self, connection: Any) -> None:
        """Send for those that wait, before anything else is done here; the first of them gets the replies.

        ``connection`` is the one that has come free, or None where it is not to be used again.
        """
        with self._lock:
            calls, self._waiting = self._waiting[:MOST_CALLS], self._waiting[MOST_CALLS:]
            self._is_busy = bool(calls)
        if connection is not None and not calls:
            self._idle.append(connection)
        elif connection is not None:
            try:
                _write(connection, calls)
            except BaseException as error:
                self._fail(calls, connection, error)
                self._hand_on(None)
                if not isinstance(error, Exception):
                    raise
                return
        if calls:
            calls[0].lead(_Batch(calls, connection))

    def _exchange(self, calls: list[_Call], connection: Any) -> tuple[Any, Exception | None]:
        """Give each call its outcome. ``connection`` is where they have been sent, None: they are sent here.

        Returns the connection (None: it is not to be used again), and what went wrong, if it did.
        """
        answered = 0
        try:
            if connection is None:
                connection = self._take()
                _write(connection, calls)
            until = time.monotonic() + COMMAND_TIMEOUT_SECONDS
            for call in calls:
                call.answer(
                    [_reply(connection, until if answered or place else None) for place in range(call.commands)]
                )
                answered += 1
        except BaseException as error:
            self._fail(calls[answered:], connection, error)
            if not isinstance(error, Exception):
                raise
            return None, error
        if _server(connection) == self._server and time.monotonic() < self._old_from and _is_quiet(connection):
            return connection, None
        self._drop(connection)
        return None, None

    def _fail(self, calls: list[_Call], connection: Any, error: BaseException) -> None:
        """What calls over a connection (None: there is none) failed with. No failure of Redis: the first one's own."""
        if connection is not None:
            self._drop(connection)
            self._drop_idle()  # the server went away, hangs, or is no master any more: for these, too
        of_all = error if isinstance(error, redis.RedisError | OSError) else redis.ConnectionError(_INTERRUPTED)
        for place, call in enumerate(calls):
            call.fail(error if place == 0 and isinstance(error, Exception) else of_all)

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
        self._old_from = time.monotonic() + self._life
        return connection

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


def _write(connection: Any, calls: list[_Call]) -> None:
    connection.send_packed_command([b"".join([call.packed for call in calls])], check_health=False)


def _reply(connection: Any, until: float | None) -> Any:
    """The next reply, an error as a value; None: within the connection's own time-out.

    What has come is read, however late that is.
    """
    if until is not None and not connection.can_read(max(0.0, until - time.monotonic())):
        raise redis.TimeoutError("no answer in time")
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return without_frames(error)


def packed(commands: Sequence[Command]) -> bytes:
    """Commands as they are sent."""
    return b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type]
