"""The ways of not answering as a contract says, the same for every gateway that the sandbox plays."""

from __future__ import annotations

import asyncio

from aiohttp import web

from otpservice.sandbox.endings import Fault

_HTML = "<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body><h1>Back soon</h1></body></html>\n"


class Faults:
    """``closing`` is set when the sandbox stops: whoever waits then is dropped at once."""

    def __init__(self, slow_seconds: float, closing: asyncio.Event) -> None:
        self._slow_seconds = slow_seconds
        self._closing = closing

    async def commit(self, request: web.Request, fault: Fault) -> web.Response:
        """Answer a request that way, or not at all."""
        match fault:
            case Fault.NEVER_ANSWERS:
                await self._closing.wait()
                return drop(request)
            case Fault.CONNECTION_CLOSED:
                return drop(request)
            case Fault.HTTP_500:
                return web.Response(status=500, text="Internal Server Error\n")
            case Fault.HTTP_429:
                return web.Response(status=429, text="Too Many Requests\n", headers={"Retry-After": "1"})
            case Fault.HTML:
                return web.Response(text=_HTML, content_type="text/html")

    async def is_closing_after_a_while(self) -> bool:
        """Wait as long as a slow number takes; True, and sooner, where the sandbox stops meanwhile."""
        try:
            async with asyncio.timeout(self._slow_seconds):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True


def drop(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    # Goes nowhere, aiohttp finds the connection closed; but a handler has to return something.
    return web.Response(status=500)
