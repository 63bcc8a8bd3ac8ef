"""An HTTP client that costs little: connections that are kept, one request at a time on each, no tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httptools

from bench.errors import BenchError
from bench.parts import API_KEY, HOST

OnAnswer = Callable[[int, bytes], None]  # status and body

_HEAD = f"Host: {HOST}\r\nAuthorization: Bearer {API_KEY}\r\nContent-Type: application/json\r\n"


def post(path: str, body: str) -> bytes:
    """A request to the service, with JSON."""
    return f"POST {path} HTTP/1.1\r\n{_HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Connection(asyncio.Protocol):
    """One connection. ``on_loss`` is told that it was closed by the other side, with or without a request on it."""

    def __init__(self, on_loss: Callable[[Exception], None]) -> None:
        self._on_loss = on_loss
        self._on_answer: OnAnswer | None = None
        self._transport: asyncio.Transport | None = None
        self._body = b""

    def ask(self, request: bytes, on_answer: OnAnswer) -> None:
        """Send a request; ``on_answer`` may ask the next one."""
        if self._transport is None or self._on_answer is not None:
            raise BenchError("the connection is not free")
        self._on_answer, self._body = on_answer, b""
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    def close(self) -> None:
        """Close it, on purpose."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._on_loss(BenchError("the service closed a connection"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    # What the parser calls.

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        on_answer, self._on_answer = self._on_answer, None
        assert on_answer is not None
        on_answer(self._parser.get_status_code(), self._body)
