"""Calls of many sends to one server, over one connection and in few round trips.

While one batch is under way, the calls that come are collected and go out together in the next: what redis-py does
for a command, which is more than the command costs, is done once for all of them. A call that comes alone waits for
nobody.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection

from otpservice.store.connection import COMMAND_TIMEOUT_SECONDS
from otpservice.store.lines import MOST_CALLS, packed
from otpservice.store.slots import Command
from otpservice.tracebacks import without_frames


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """Commands as they are sent, how many they are, and who waits for their replies."""

    packed: bytes
    commands: int
    replies: asyncio.Future[list[Any]]

    def answer(self, replies: list[Any]) -> None:
        if not self.replies.done():
            self.replies.set_result(replies)

    def fail(self, error: Exception) -> None:
        if not self.replies.done():
            self.replies.set_exception(error)


class Batches:
    """Calls to the server of ``client``, for one event loop."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._pool = client.connection_pool
        self._waiting: deque[_Call] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def send(self, *commands: Command) -> list[Any]:
        """The replies to commands, which stay together and in order; error replies as values.

        Nothing is sent a second time. Raises redis.RedisError or OSError where there is no reply in time: whether the
        commands were run is then not known. Who is cancelled while its call waits may have sent nothing.
        """
        call = _Call(packed(commands), len(commands), asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())
        return await call.replies

    async def _send_all(self) -> None:
        calls: list[_Call] = []
        try:
            while calls := self._take():
                try:
                    await self._exchange(calls)
                except Exception as error:
                    if isinstance(error, redis.TimeoutError):
                        # Those that wait would wait as long for the same server, one batch after the other.
                        calls += self._waiting
                        self._waiting.clear()
                    for call in calls:
                        call.fail(type(error)(*error.args))  # one for each: who raises it leaves its frames on it
        finally:
            self._sending = None
            for call in (*calls, *self._waiting):  # none, but where the event loop ends
                call.replies.cancel()

    def _take(self) -> list[_Call]:
        calls: list[_Call] = []
        while self._waiting and len(calls) < MOST_CALLS:
            call = self._waiting.popleft()
            if not call.replies.done():  # nobody waits for it any more
                calls.append(call)
        return calls

    async def _exchange(self, calls: list[_Call]) -> None:
        """Answer calls. Raises what those that are not answered by then have failed with."""
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command([call.packed for call in calls], check_health=False)
            async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                for call in calls:
                    call.answer([await _reply(connection) for _ in range(call.commands)])
        except TimeoutError:
            raise redis.TimeoutError("no answer in time") from None
        finally:
            await self._pool.release(connection)  # closed by redis-py, where a reply is still to come


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)  # the whole batch has a time-out
    except redis.ResponseError as error:
        return without_frames(error)
