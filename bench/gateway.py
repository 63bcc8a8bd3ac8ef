"""A gateway that costs little, by mobilgroup's protocol (GATEWAY.md): ``python -m bench.gateway PORT``.

It takes every code and says that it was delivered, after ``--delay`` seconds; numbers that end in ``--silent`` are
never answered. ``GET /stats`` tells how many sends there were and are, ``GET /times`` when they came.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httptools
import orjson

OnSend = Callable[[str, str], None]  # a number (digits, no plus) and its code, once it is answered

_HEAD = "HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def _ignore(number: str, code: str) -> None:
    pass


@dataclass
class Gateway:
    """What all connections share. ``delay`` is in seconds; ``silent`` is an ending of numbers, None of none."""

    delay: float = 0.0
    silent: str | None = None
    on_send: OnSend = _ignore
    open: int = 0
    most_open: int = 0
    arrivals: array[float] = field(default_factory=lambda: array("d"))  # monotonic seconds
    numbers: set[str] = field(default_factory=set)
    open_then: array[int] = field(default_factory=lambda: array("l"))  # at each arrival

    def connection(self) -> asyncio.Protocol:
        """For ``create_server``."""
        return _Connection(self)

    def stats(self) -> dict[str, int]:
        """How many sends have come, for how many numbers, and how many wait for an answer, and did at most."""
        numbers = len(self.numbers)
        return {"sends": len(self.arrivals), "numbers": numbers, "open": self.open, "most_open": self.most_open}

    def times(self) -> dict[str, list[float] | list[int]]:
        """When each send came, in seconds since the first; and how many were open then."""
        first = self.arrivals[0] if self.arrivals else 0.0
        return {"seconds": [round(each - first, 4) for each in self.arrivals], "open": self.open_then.tolist()}

    def opened(self, number: str) -> int:
        """Count a send; returns which one it is."""
        self.open += 1
        self.numbers.add(number)
        self.most_open = max(self.most_open, self.open)
        self.arrivals.append(time.monotonic())
        self.open_then.append(self.open)
        return len(self.arrivals)


class _Connection(asyncio.Protocol):
    """One connection, kept open. Nobody sends a second request on it before the first is answered."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._url, self._body = b"", b""
        self._waits = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._gateway.open -= self._waits  # nobody waits for it any more

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.close()

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        self._url, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method()
        if method == b"POST":
            self._take(self._body, keep_alive=self._parser.should_keep_alive())
        elif self._url == b"/times":
            self._answer(200, self._gateway.times())
        else:
            self._answer(200, self._gateway.stats())

    def _take(self, body: bytes, *, keep_alive: bool) -> None:
        try:
            asked = orjson.loads(body)
            number, code = asked["number"], asked["code"]
        except (ValueError, KeyError, TypeError):
            self._answer(400, {"result": "error", "error_code": "unknown_request"})
            return
        self._waits += 1
        answer = {
            "result": "ok",
            "request_id": f"{self._gateway.opened(number):016x}",
            "number": number,
            "price": "1.50",
            "state": "delivered",
            "state_reason": "",
            "resend": "",
            "code": code,
        }
        if self._gateway.silent is not None and number.endswith(self._gateway.silent):
            return
        if self._gateway.delay:
            asyncio.get_running_loop().call_later(self._gateway.delay, self._deliver, answer, keep_alive)
        else:
            self._deliver(answer, keep_alive)

    def _deliver(self, answer: dict[str, str], keep_alive: bool) -> None:
        if self._transport is None:
            return
        self._waits -= 1
        self._gateway.open -= 1
        self._answer(200, answer)
        if not keep_alive:
            self._transport.close()
        self._gateway.on_send(answer["number"], answer["code"])

    def _answer(self, status: int, content: Any) -> None:
        body = orjson.dumps(content)
        if self._transport is not None:
            self._transport.write((_HEAD % (status, len(body))).encode() + body)


async def serve(gateway: Gateway, host: str, port: int) -> asyncio.Server:
    """Listen."""
    return await asyncio.get_running_loop().create_server(gateway.connection, host, port, backlog=4096)


async def _serve_for_ever(gateway: Gateway, port: int) -> None:
    server = await serve(gateway, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--silent")
    given = parser.parse_args()
    asyncio.run(_serve_for_ever(Gateway(given.delay, given.silent), given.port))
