"""A provider that answers as it is told, on a free port of the loopback, and what tests send to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from otpservice.delivery.gateways.base import Message
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback, Outcome

NUMBER = "+79991234567"
CODE = "042137"
CALLBACK = "https://otp.example.com/v1/callbacks/x/v00a.1.b?c=d&e"
TAKEN = Outcome(DeliveryState.DELIVERED, Channel.TELEGRAM)


@dataclass
class Asked:
    """One request as it came."""

    method: str
    url: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Provider:
    """``answers`` are given in turn, the last one again and again: a status, JSON or text, headers.

    Each comes after ``seconds``.
    """

    answers: list[tuple[int, Any] | tuple[int, Any, dict[str, str]]]
    url: str = ""
    seconds: float = 0.0
    asked: list[Asked] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(Asked(request.method, str(request.rel_url), request.raw_path, headers, await request.read()))
        await asyncio.sleep(self.seconds)
        status, body, *more = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        extra: dict[str, str] = more[0] if more else {}
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=extra)
        return web.json_response(body, status=status, headers=extra)


@asynccontextmanager
async def running(*answers: Any) -> AsyncIterator[Provider]:
    provider = Provider(list(answers))
    app = web.Application()
    app.router.add_route("*", r"/{rest:[\s\S]*}", provider.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield provider
    finally:
        await runner.cleanup()


def message(
    number: str = NUMBER, code: str = CODE, fallback: Fallback = Fallback.SMS, callback_url: str | None = CALLBACK
) -> Message:
    return Message(number, code, fallback, callback_url)


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(30):
            return await scenario

    return asyncio.run(main())


class Fake:
    """A gateway that ends its sends as told, the last way again and again; it waits where ``holds`` is set."""

    def __init__(
        self,
        name: str,
        ends: Sequence[Outcome | Exception] = (TAKEN,),
        *,
        max_in_flight: int = 10,
        fallbacks: Sequence[Fallback] = tuple(Fallback),
    ) -> None:
        self.name = name
        self.max_in_flight = max_in_flight
        self.messages: list[Message] = []
        self.holds: asyncio.Event | None = None
        self.began = asyncio.Event()
        self._ends = list(ends)
        self._fallbacks = fallbacks

    def serves(self, fallback: Fallback) -> bool:
        return fallback in self._fallbacks

    async def send(self, message: Message) -> Outcome:
        self.messages.append(message)
        self.began.set()
        if self.holds is not None:
            await self.holds.wait()
        end = self._ends.pop(0) if len(self._ends) > 1 else self._ends[0]
        if isinstance(end, Exception):
            raise end
        return end

    async def aclose(self) -> None:
        pass


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait for something that only shows when one asks."""
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)
