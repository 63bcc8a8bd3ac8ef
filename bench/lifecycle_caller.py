"""Whole verifications, over and over: ``python -m bench.lifecycle_caller SERVICE_PORT GATEWAY_PORT CALLERS SECONDS``.

Caller and gateway in one process, as cheap as they can be: they share the machine with what is measured. Each caller
starts a verification, takes the code from what the service sends to the gateway, and verifies. Anything but 201 and
200 ends it all. Prints, as JSON, how many were done in all, and of those after a warm-up how many a second, what they
cost here, and the seconds that each took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from itertools import count

import orjson

from bench.client import Connection, post
from bench.errors import BenchError
from bench.gateway import Gateway, serve
from bench.measure import WARM_UP_SECONDS
from bench.parts import HOST


@dataclass
class Callers:
    """What all callers share."""

    failed: asyncio.Future[None]
    numbers: count[int] = field(default_factory=count)
    by_number: dict[str, _Caller] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)  # seconds of each whole verification
    is_over: bool = False

    def fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def arrived(self, number: str, code: str) -> None:
        """A code is on a phone."""
        caller = self.by_number.pop(number, None)
        if caller is None:
            self.fail(BenchError("a code came that nobody waits for"))
        else:
            caller.verify(code)


class _Caller:
    """One after the other. The code may come before the answer to the start that it belongs to."""

    def __init__(self, callers: Callers) -> None:
        self.connection = Connection(callers.fail)
        self._callers = callers
        self._id = self._code = ""
        self._began = 0.0

    def start(self) -> None:
        if self._callers.is_over:
            return
        number = f"7999{next(self._callers.numbers):07d}"
        self._id = self._code = ""
        self._began = time.perf_counter()
        self._callers.by_number[number] = self
        self.connection.ask(post("/v1/verifications", f'{{"number": "+{number}"}}'), self._started)

    def verify(self, code: str) -> None:
        self._code = code
        self._go_on()

    def _started(self, status: int, body: bytes) -> None:
        if status != 201:
            self._callers.fail(BenchError(f"start answered {status}: {body[:200]!r}"))
            return
        self._id = orjson.loads(body)["id"]
        self._go_on()

    def _go_on(self) -> None:
        if self._id and self._code:
            self.connection.ask(
                post(f"/v1/verifications/{self._id}/verify", f'{{"code": "{self._code}"}}'), self._verified
            )

    def _verified(self, status: int, body: bytes) -> None:
        if status != 200:
            self._callers.fail(BenchError(f"verify answered {status}: {body[:200]!r}"))
            return
        self._callers.took.append(time.perf_counter() - self._began)
        self.start()


async def call(service_port: int, gateway_port: int, callers_wanted: int, seconds: float) -> dict[str, object]:
    """What is printed."""
    loop = asyncio.get_running_loop()
    callers = Callers(loop.create_future())
    gateway = Gateway(on_send=callers.arrived)
    server = await serve(gateway, HOST, gateway_port)
    each = [_Caller(callers) for _ in range(callers_wanted)]
    for caller in each:
        await loop.create_connection(lambda caller=caller: caller.connection, HOST, service_port)  # type: ignore[misc]
    for caller in each:
        caller.start()
    await _for(WARM_UP_SECONDS, callers)
    before, began, used = len(callers.took), time.perf_counter(), time.process_time()
    await _for(seconds, callers)
    done = callers.took[before:]
    measured = {
        "a_second": len(done) / (time.perf_counter() - began),
        "cpu_seconds_each": (time.process_time() - used) / len(done),
        "done": len(callers.took),
        "took": done,
    }
    callers.is_over = True
    for caller in each:
        caller.connection.close()
    server.close()
    return measured


async def _for(seconds: float, callers: Callers) -> None:
    """Let it go on for so long. Raises what has gone wrong."""
    await asyncio.wait({callers.failed}, timeout=seconds)
    if callers.failed.done():
        callers.failed.result()


if __name__ == "__main__":
    ports, callers_at_once, how_long = sys.argv[1:3], int(sys.argv[3]), float(sys.argv[4])
    print(json.dumps(asyncio.run(call(int(ports[0]), int(ports[1]), callers_at_once, how_long))))
