"""Starting and stopping, and what a defect of the sandbox itself looks like from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from otpservice.sandbox import SandboxSettings, create_app, serve
from otpservice.sandbox.gateway import Gateway
from tests.sandbox.support import API_KEY, CODE, PATIENCE_SECONDS, Sandbox, until, with_sandbox


@with_sandbox()
async def test_it_says_where_it_listens_and_that_it_lives(sandbox: Sandbox) -> None:
    assert sandbox.url.startswith("http://127.0.0.1:")
    assert await sandbox.get("/healthz") == {"status": "ok"}


@with_sandbox()
async def test_a_taken_port_is_an_os_error(sandbox: Sandbox) -> None:
    port = int(sandbox.url.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"):
        await serve(SandboxSettings(API_KEY), "127.0.0.1", port, ready=lambda url: None, stop=asyncio.Event())


@pytest.fixture
def patient_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers may take longer to end by themselves than a test may run."""
    monkeypatch.setattr("otpservice.sandbox.server._SHUTDOWN_SECONDS", 2 * PATIENCE_SECONDS)


@pytest.mark.usefixtures("patient_shutdown")
@with_sandbox(slow_seconds=60, callback_delay=60)
async def test_stopping_drops_whoever_waits_at_once(sandbox: Sandbox) -> None:
    waiting = [
        asyncio.create_task(sandbox.send(number))
        for number in ("79990001191", "79990001190", "79990001191", "79990001190")
    ]
    await sandbox.send("79990001101", callback_url="http://127.0.0.1:1/")

    async def all_wait() -> bool:
        return bool((await sandbox.get("/stats"))["in_flight"] == len(waiting))

    await until(all_wait)
    async with sandbox.events() as events:
        await anext(events)
        sandbox.stop.set()
        await sandbox.stopped
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, aiohttp.ServerDisconnectedError) for outcome in outcomes)


def test_an_ipv6_address_is_written_as_one() -> None:
    async def scenario() -> str:
        stop = asyncio.Event()
        urls: list[str] = []

        def ready(url: str) -> None:
            urls.append(url)
            stop.set()

        await serve(SandboxSettings(API_KEY), "::1", 0, ready=ready, stop=stop)
        return urls[0]

    try:
        assert asyncio.run(scenario()).startswith("http://[::1]:")
    except OSError:
        pytest.skip("this machine has no IPv6")


@with_sandbox()
async def test_a_defect_is_answered_without_its_traceback_and_logged_without_the_code(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Gateway, *arguments: object) -> None:
        raise RuntimeError(CODE)

    monkeypatch.setattr(Gateway, "receive", fail)
    with capture_logs() as logs:
        response = await sandbox.raw_send("79990001101")
    assert response.status == 500
    assert await response.json() == {"error": "Internal Server Error"}
    (entry,) = logs
    assert (entry["event"], entry["problem"]) == ("sandbox_failed", "RuntimeError")
    assert CODE not in repr(entry)


def test_applications_share_nothing() -> None:
    assert create_app(SandboxSettings(API_KEY)) is not create_app(SandboxSettings(API_KEY))


@pytest.mark.parametrize(
    "change",
    [
        {"api_key": ""},
        {"balance": Decimal(-1)},
        {"balance": Decimal("NaN")},
        {"balance": Decimal("1e9")},
        {"max_messages": 0},
        {"slow_seconds": -1},
        {"callback_timeout": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    build: Callable[..., SandboxSettings] = SandboxSettings
    with pytest.raises(ValueError, match=next(iter(change))):
        build(**{"api_key": API_KEY, **change})


def test_settings_hide_the_key() -> None:
    assert API_KEY not in repr(SandboxSettings(API_KEY))
