"""Verifies with a wrong code at an even rate: ``python -m bench.caller PORT RATE SECONDS``, ids on standard input.

A request is sent when its time has come, however many are still unanswered, and its time counts from when it should
have been sent: a service that stalls is not called less. The first second does not count. Prints the seconds that each
request took, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import sys
from collections.abc import Iterator, Sequence

from bench.client import Connection, post
from bench.errors import BenchError
from bench.measure import WARM_UP_SECONDS
from bench.parts import HOST
from bench.seeding import WRONG_CODE

_LATEST_ANSWER_SECONDS = 30.0


class Caller:
    """Calls over as many connections as it takes."""

    def __init__(self, port: int, rate: int, requests: Iterator[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._rate = rate
        self._requests = requests
        self._free: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._left = 0
        self._took: list[float] = []

    async def call(self, count: int) -> list[float]:
        """Send so many requests; the seconds that each took."""
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._left, self._took = count, [0.0] * count
        self._began = self._loop.time()
        self._loop.call_at(self._began, self._send, 0, count)
        latest = count / self._rate + _LATEST_ANSWER_SECONDS
        await asyncio.wait_for(self._finished, latest)
        return self._took

    def close(self) -> None:
        """Close its connections."""
        for connection in self._free:
            connection.close()

    def _send(self, place: int, count: int) -> None:
        """Send the request whose turn it is, and see to it that the next one gets its turn."""
        if place + 1 < count:
            self._loop.call_at(self._began + (place + 1) / self._rate, self._send, place + 1, count)
        if self._free:
            self._ask(self._free.pop(), place)
        else:
            task = self._loop.create_task(self._open_and_ask(place))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open_and_ask(self, place: int) -> None:
        connection = Connection(self._fail)
        try:
            await self._loop.create_connection(lambda: connection, HOST, self._port)
        except OSError as error:
            self._fail(error)
        else:
            self._ask(connection, place)

    def _ask(self, connection: Connection, place: int) -> None:
        def answered(status: int, body: bytes) -> None:
            self._took[place] = self._loop.time() - (self._began + place / self._rate)
            if status != 422 or b"incorrect-code" not in body:
                self._fail(BenchError(f"verify answered {status}: {body[:200]!r}"))
            self._free.append(connection)
            self._left -= 1
            if self._left == 0 and not self._finished.done():
                self._finished.set_result(None)

        connection.ask(next(self._requests), answered)

    def _fail(self, error: Exception) -> None:
        if not self._finished.done():
            self._finished.set_exception(error)


async def call(port: int, rate: int, seconds: int, ids: Sequence[str]) -> list[float]:
    """What is printed."""
    requests = (post(f"/v1/verifications/{id_}/verify", f'{{"code": "{WRONG_CODE}"}}') for id_ in ids)
    caller = Caller(port, rate, requests)
    try:
        await caller.call(rate * WARM_UP_SECONDS)
        return await caller.call(rate * seconds)
    finally:
        caller.close()


def _loop() -> asyncio.AbstractEventLoop:
    # epoll wakes up to a millisecond late, which is as long as a verify takes; select is told microseconds.
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    with asyncio.Runner(loop_factory=_loop) as runner:
        print(json.dumps(runner.run(call(given[0], given[1], given[2], sys.stdin.read().split()))))
