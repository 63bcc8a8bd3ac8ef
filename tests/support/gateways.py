"""Gateways of the tests: one that is only an object, and a local HTTP server that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from otpservice.delivery.gateways.base import Message
from otpservice.verification.lifecycle import Channel, DeliveryState, Outcome

TAKEN = Outcome(DeliveryState.DELIVERED, Channel.TELEGRAM, None, "1.50", "request-1")

Answer = Outcome | BaseException


@dataclass
class FakeGateway:
    """Answers each send with the next of ``answers``, and with the last one from then on.

    While ``opened`` is not set it holds what it got. ``messages`` are the sends in the order they came.
    """

    answers: Iterable[Answer] = (TAKEN,)
    name: str = "first"
    max_in_flight: int = 10
    messages: list[Message] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    most_in_flight: int = 0
    is_closed: bool = False

    def __post_init__(self) -> None:
        self._left = list(self.answers)
        self.opened.set()

    async def send(self, message: Message) -> Outcome:
        self.messages.append(message)
        answer = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.opened.wait()
        finally:
            self.in_flight -= 1
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def aclose(self) -> None:
        self.is_closed = True


@dataclass
class Received:
    """One request as the server got it."""

    path: str
    headers: Mapping[str, str]
    body: Any


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class HttpGateway:
    """A server at ``url``; ``handler`` answers, ``received`` are the requests in order."""

    handler: Handler
    url: str = ""
    received: list[Received] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.received.append(Received(request.path, request.headers, await request.json()))
        return await self.handler(request)


def json_answer(body: Any, status: int = 200, **headers: str) -> Handler:
    """Always the same JSON."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response(
            body, status=status, headers={name.replace("_", "-"): v for name, v in headers.items()}
        )

    return handler


def raw_answer(body: bytes, status: int = 200, **headers: str) -> Handler:
    """Always the same bytes."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(
            body=body, status=status, headers={name.replace("_", "-"): v for name, v in headers.items()}
        )

    return handler


@asynccontextmanager
async def running_gateway(handler: Handler) -> AsyncIterator[HttpGateway]:
    gateway = HttpGateway(handler)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", gateway.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/send/"
        yield gateway
    finally:
        await runner.cleanup()
