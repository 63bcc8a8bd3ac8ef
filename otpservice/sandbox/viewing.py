"""What people and tests look at: the page, the messages, live events, the counters and the balance."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from importlib import resources

from aiohttp import web
from aiohttp.typedefs import Handler

from otpservice.sandbox.callbacks import Callbacks
from otpservice.sandbox.gateway import Gateway
from otpservice.sandbox.live import TooManyViewers, event_frame
from otpservice.sandbox.settings import SandboxSettings

_BALANCE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?", re.ASCII)
_PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/script.js": ("script.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class Viewing:
    """Shows what a gateway did. Nothing here asks for a key."""

    def __init__(self, settings: SandboxSettings, gateway: Gateway, callbacks: Callbacks) -> None:
        self._heartbeat_seconds = settings.heartbeat
        self._gateway = gateway
        self._callbacks = callbacks

    async def messages(self, request: web.Request) -> web.Response:
        """``GET /messages``: a list, newest first, of one ``number`` (digits, plus or not) or of all."""
        number = request.query.get("number")
        if number is not None:
            # An unescaped plus in a query string means a space.
            number = number.strip().removeprefix("+")
        found = self._gateway.phones.newest_first(number)
        return web.json_response([message.as_json() for message in found])

    async def clear_messages(self, request: web.Request) -> web.Response:
        """``DELETE /messages``: empties all phones; 204."""
        self._gateway.clear_phones()
        return web.Response(status=204)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """``GET /events``: server-sent events ``message``, ``balance`` and ``resync`` (read all anew).

        It begins with the balance, and everything that happens after that comes, so a reader who reads
        ``/messages`` once it has begun misses nothing.
        """
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )
        try:
            with self._gateway.live.viewing() as viewer:
                viewer.put(event_frame("balance", {"balance": self._gateway.balance}))
                await response.prepare(request)
                await response.write(b"retry: 1000\n\n")
                while not self._gateway.live.is_closed:
                    chunk = await viewer.frames(self._heartbeat_seconds)
                    await response.write(chunk or b": still here\n\n")
        except TooManyViewers:
            return web.json_response(
                {"error": "too many pages look on already"}, status=503, headers={"Retry-After": "5"}
            )
        return response

    async def stats(self, request: web.Request) -> web.Response:
        """``GET /stats``: requests by what came of them, those being answered now, and the other counters."""
        return web.json_response(
            {
                "requests": dict(self._gateway.outcomes),
                "in_flight": self._gateway.in_flight,
                "balance": self._gateway.balance,
                "messages": len(self._gateway.phones),
                "viewers": len(self._gateway.live),
                "callbacks": {
                    "sent": self._callbacks.sent,
                    "failed": self._callbacks.failed,
                    "dropped": self._callbacks.dropped,
                    "pending": self._callbacks.pending,
                },
            }
        )

    async def show_balance(self, request: web.Request) -> web.Response:
        """``GET /balance``: ``{"balance": "x.xx"}``."""
        return web.json_response({"balance": self._gateway.balance})

    async def put_balance(self, request: web.Request) -> web.Response:
        """``PUT /balance`` with ``{"balance": "0.50"}``: sets it, answers with it; 400 for anything else."""
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError):
            body = None
        text = body.get("balance") if isinstance(body, dict) else None
        if not isinstance(text, str) or not _BALANCE.fullmatch(text):
            return web.json_response(
                {"error": 'balance: write it as text with up to two decimals, {"balance": "0.50"}'},
                status=400,
            )
        self._gateway.set_balance(Decimal(text))
        return await self.show_balance(request)

    async def health(self, request: web.Request) -> web.Response:
        """``GET /healthz``: 200 while the process lives."""
        return web.json_response({"status": "ok"})


def page_routes() -> list[web.RouteDef]:
    """The page's files, read from the package once."""
    folder = resources.files("otpservice.sandbox") / "page"
    return [
        web.get(path, _file_handler((folder / name).read_bytes(), content_type))
        for path, (name, content_type) in _PAGE_FILES.items()
    ]


def _file_handler(content: bytes, content_type: str) -> Handler:
    async def show(request: web.Request) -> web.Response:
        return web.Response(body=content, content_type=content_type, charset="utf-8")

    return show
