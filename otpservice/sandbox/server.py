"""The sandbox as an aiohttp application, and as a server that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from otpservice.sandbox.callbacks import Callbacks
from otpservice.sandbox.faults import Faults
from otpservice.sandbox.gateway import Gateway
from otpservice.sandbox.providers import Providers
from otpservice.sandbox.sending import Sending
from otpservice.sandbox.settings import SandboxSettings
from otpservice.sandbox.telegram import Telegram
from otpservice.sandbox.viewing import Viewing, page_routes

MAX_BODY_BYTES = 16 * 1024
_SHUTDOWN_SECONDS = 1.0
# Load tests open thousands of connections at once; the usual 128 would make some of them wait for a retry.
_BACKLOG = 4096
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def create_app(settings: SandboxSettings, *, now: Callable[[], datetime] = _utc_now) -> web.Application:
    """The whole sandbox; each application has its own phones, balance and counters.

    now: the time in UTC. Run it with ``handler_cancellation=True``, as ``serve`` does: without it a request
    that is never answered stays in memory after its client has gone.
    """
    gateway = Gateway(settings, now)
    callbacks = Callbacks(settings)
    closing = asyncio.Event()
    faults = Faults(settings.slow_seconds, closing)
    sending = Sending(settings, gateway, callbacks, faults, now)
    telegram = Telegram(settings, gateway, callbacks, faults, now)
    providers = Providers(settings, gateway, callbacks, faults)
    viewing = Viewing(settings, gateway, callbacks)

    async def close(app: web.Application) -> None:
        closing.set()
        gateway.live.close()

    async def hold_callbacks(app: web.Application) -> AsyncIterator[None]:
        async with callbacks:
            yield

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors_as_json])
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(close)
    app.cleanup_ctx.append(hold_callbacks)
    app.add_routes(
        [
            web.post("/api/send", sending.send),
            web.post("/api/send/", sending.send),
            web.post("/telegram/{method}", telegram.call),
            web.post("/http/twilio/2010-04-01/Accounts/{account}/Messages.json", providers.twilio),
            web.post("/http/smsc/sys/send.php", providers.smsc),
            web.post("/http/inhouse/v1/messages", providers.inhouse),
            web.get("/messages", viewing.messages),
            web.delete("/messages", viewing.clear_messages),
            web.get("/events", viewing.events, allow_head=False),
            web.get("/stats", viewing.stats),
            web.get("/balance", viewing.show_balance),
            web.put("/balance", viewing.put_balance),
            web.get("/healthz", viewing.health),
            *page_routes(),
        ]
    )
    return app


async def serve(
    settings: SandboxSettings,
    host: str,
    port: int,
    *,
    ready: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Run a sandbox until ``stop`` is set.

    port: 0 for any free one. ready: called once it listens, with its address (``http://127.0.0.1:8090``). At
    the end requests that wait are dropped at once, without an answer, and callbacks that wait are not posted.

    Raises OSError where the address cannot be listened on, for one because the port is taken.
    """
    runner = web.AppRunner(
        create_app(settings), access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        ready(_url_of(runner.addresses[0]))
        await stop.wait()
    finally:
        await runner.cleanup()


def _url_of(address: tuple[object, ...]) -> str:
    host, port = address[:2]
    return f"http://[{host}]:{port}" if ":" in str(host) else f"http://{host}:{port}"


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return web.json_response({"error": error.reason}, status=error.status, headers=allow)
    except web.RequestPayloadError:
        response = web.json_response({"error": "the body cannot be read"}, status=400)
        # aiohttp closes the connection after this, so the client must not use it again.
        response.force_close()
        return response
    except ConnectionError:
        # The client has gone; aiohttp knows what to do.
        raise
    except Exception as error:
        # Without the message and the locals: either may hold a code.
        where = "".join(traceback.format_tb(error.__traceback__))
        _log.error("sandbox_failed", path=request.path, problem=type(error).__name__, where=where)
        return web.json_response({"error": "Internal Server Error"}, status=500)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
