"""A sandbox on a free port of the loopback, a client for it, and a receiver of its callbacks."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

import aiohttp
from aiohttp import web

from otpservice.sandbox import SandboxSettings, serve

API_KEY = "the-key"
CODE = "123456"
PATIENCE_SECONDS = 20

P = ParamSpec("P")


@dataclass
class Sandbox:
    """A running sandbox, seen from outside."""

    url: str
    session: aiohttp.ClientSession
    stop: asyncio.Event
    stopped: asyncio.Task[None]

    async def send(self, number: str, **fields: object) -> dict[str, str]:
        """Send a code of six digits and hand back the answer's JSON."""
        answer: dict[str, str] = await (await self.raw_send(number, **fields)).json()
        return answer

    async def raw_send(self, number: str, **fields: object) -> aiohttp.ClientResponse:
        body = {"number": number, "code": CODE, "code_length": "6", **fields}
        response = await self.session.post(f"{self.url}/api/send/", json=body, headers={"Authorization": API_KEY})
        await response.read()
        return response

    async def get(self, path: str) -> Any:
        async with self.session.get(f"{self.url}{path}") as response:
            assert response.status == 200
            return await response.json()

    async def messages(self, number: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.get("/messages" if number is None else f"/messages?number={number}")
        return found

    async def set_balance(self, balance: str) -> None:
        async with self.session.put(f"{self.url}/balance", json={"balance": balance}) as response:
            assert response.status == 200

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        """The live events as (name, data), from the time on at which the block begins."""
        async with self.session.get(f"{self.url}/events") as response:
            assert response.status == 200
            yield _read_events(response)


async def _read_events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in response.content:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


@asynccontextmanager
async def running_sandbox(**settings: Any) -> AsyncIterator[Sandbox]:
    """A sandbox whose callbacks come at once, unless told otherwise."""
    chosen: dict[str, Any] = {"api_key": API_KEY, "callback_delay": 0.0, **settings}
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    stopped = asyncio.create_task(serve(SandboxSettings(**chosen), "127.0.0.1", 0, ready=url.set_result, stop=stop))
    await url
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            yield Sandbox(url.result(), session, stop, stopped)
        finally:
            stop.set()
            await stopped


def with_sandbox(
    **settings: Any,
) -> Callable[[Callable[Concatenate[Sandbox, P], Awaitable[None]]], Callable[P, None]]:
    """Run an async test, whose first argument is the sandbox, in a loop of its own."""

    def decorate(test: Callable[Concatenate[Sandbox, P], Awaitable[None]]) -> Callable[P, None]:
        async def scenario(*args: P.args, **kwargs: P.kwargs) -> None:
            async with asyncio.timeout(PATIENCE_SECONDS), running_sandbox(**settings) as sandbox:
                await test(sandbox, *args, **kwargs)

        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            asyncio.run(scenario(*args, **kwargs))

        signature = inspect.signature(test)
        run.__doc__ = test.__doc__
        # pytest reads the names of a test's arguments from its signature; the sandbox is no fixture.
        vars(run)["__signature__"] = signature.replace(parameters=list(signature.parameters.values())[1:])
        return run

    return decorate


class Receiver:
    """Takes callbacks. ``status`` is what it answers; it answers nothing while ``answers`` is not set."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 204
        self.headers: dict[str, str] = {}
        self.answers = asyncio.Event()
        self.answers.set()
        self._received: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def next(self) -> dict[str, str]:
        """The next callback's body."""
        return await self._received.get()

    @property
    def is_empty(self) -> bool:
        return self._received.empty()

    async def receive(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        self._received.put_nowait(await request.json())
        await self.answers.wait()
        return web.Response(status=self.status, headers=self.headers)


@asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/callback/{token}", receiver.receive)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callback/signed-token"
        yield receiver
    finally:
        await runner.cleanup()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that only shows when one asks."""
    while not await condition():
        await asyncio.sleep(0.01)
