"""The settings of config/gateways/, against stand-ins that check each request as the provider documents it."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from otpservice.config import HttpGatewaySettings, Settings, describe, parse
from otpservice.delivery.gateways.base import (
    AccountError,
    GatewayError,
    Message,
    NotPermittedError,
    NumberRefusedError,
    UnavailableError,
)
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback, Outcome
from otpservice.verification.reports import Report
from otpservice.wiring.gateways import gateway, report_readers
from tests.gateways.support import CODE
from tests.sandbox.support import API_KEY, Receiver, Sandbox, running_receiver, running_sandbox

FOLDER = Path(__file__).parents[2] / "config" / "gateways"
ENVIRON = {
    "TWILIO_ACCOUNT_SID": "AC0123456789abcdef0123456789abcdef",
    "TWILIO_AUTH_TOKEN": API_KEY,
    "SMSC_LOGIN": "shop",
    "SMSC_PASSWORD": API_KEY,
    "INHOUSE_TOKEN": API_KEY,
}
# File, gateway, the provider's own address, where the sandbox plays it, price.
PROVIDERS = {
    "twilio": ("twilio", "https://api.twilio.com", "/http/twilio", None),
    "smsc": ("smsc", "https://smsc.ru", "/http/smsc", "3.00"),
    "inhouse_sms": ("inhouse", "https://sms.example.com", "/http/inhouse", "3.00"),
    "inhouse_call": ("inhouse", "https://sms.example.com", "/http/inhouse", "1.50"),
}
NAMES = list(PROVIDERS)
REPORTING = ["twilio", "inhouse_sms", "inhouse_call"]


def settings_of(name: str, sandbox_url: str | None = None, environ: Mapping[str, str] = ENVIRON) -> Settings:
    """A whole settings file with the gateway in it, as it stands or with the sandbox in the provider's place."""
    file, address, played_at, _ = PROVIDERS[name]
    text = (FOLDER / f"{file}.toml").read_text("utf-8")
    assert address in text
    if sandbox_url is not None:
        text = text.replace(address, sandbox_url + played_at)
    document: dict[str, Any] = {
        "secret_keys": ["k" * 32],
        "delivery": {"route": [name]},
        "tenants": {"signup": {"api_keys": ["sha256:" + "0a" * 32]}},
        **tomllib.loads(text),
    }
    return parse(document, environ, FOLDER)


@asynccontextmanager
async def parts() -> AsyncIterator[tuple[Sandbox, Receiver]]:
    async with asyncio.timeout(20), running_sandbox() as sandbox, running_receiver() as receiver:
        yield sandbox, receiver


async def send(sandbox: Sandbox, name: str, number: str, callback_url: str | None = None, **environ: str) -> Outcome:
    settings = settings_of(name, sandbox.url, {**ENVIRON, **environ})
    provider = gateway(settings.gateways[name])
    channel = settings.gateways[name]
    assert isinstance(channel, HttpGatewaySettings)
    try:
        return await provider.send(Message(number, CODE, Fallback(channel.channel), callback_url))
    finally:
        await provider.aclose()


@pytest.mark.parametrize("name", NAMES)
def test_a_code_comes_to_the_phone(name: str) -> None:
    async def scenario() -> None:
        async with parts() as (sandbox, receiver):
            outcome = await send(sandbox, name, "+79990001100", receiver.url)
            channel = Channel.VOICE if name == "inhouse_call" else Channel.SMS
            assert (outcome.state, outcome.channel) == (DeliveryState.SENT, channel)
            assert outcome.is_recognised
            assert outcome.price == PROVIDERS[name][3]
            [shown] = await sandbox.messages("79990001100")
            assert (shown["code"], shown["channel"]) == (CODE, channel.value)
            assert CODE in shown["text"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("ending", "kinds"),
    [
        ("80", NumberRefusedError),
        ("81", NotPermittedError),
        ("82", (NumberRefusedError, NotPermittedError)),
        ("83", AccountError),
        ("84", (AccountError, UnavailableError)),
        ("85", AccountError),
        ("92", UnavailableError),
        ("93", UnavailableError),
        ("95", UnavailableError),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_its_errors_are_understood(name: str, ending: str, kinds: Any) -> None:
    async def scenario() -> None:
        async with parts() as (sandbox, _):
            with pytest.raises(GatewayError) as caught:
                await send(sandbox, name, f"+799900011{ending}")
            assert isinstance(caught.value, kinds)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_key_is_an_error_about_the_account(name: str) -> None:
    wrong = {"TWILIO_AUTH_TOKEN": "wrong", "SMSC_PASSWORD": "wrong", "INHOUSE_TOKEN": "wrong"}

    async def scenario() -> None:
        async with parts() as (sandbox, _):
            with pytest.raises(AccountError):
                await send(sandbox, name, "+79990001100", **wrong)

    asyncio.run(scenario())


@pytest.mark.parametrize(("ending", "state"), [("00", DeliveryState.DELIVERED), ("76", DeliveryState.FAILED)])
@pytest.mark.parametrize("name", REPORTING)
def test_its_reports_are_understood(name: str, ending: str, state: DeliveryState) -> None:
    async def scenario() -> None:
        async with parts() as (sandbox, _):
            reports: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()
            async with raw_receiver(reports) as url:
                outcome = await send(sandbox, name, f"+799900011{ending}", url)
                body, _content_type = await reports.get()
            report: Report = report_readers(settings_of(name))[name](body, {}, 0.0)
            assert report.number == f"+799900011{ending}"
            assert (report.outcome.state, report.outcome.is_recognised) == (state, True)
            # An id that could hold a code, as hexadecimal may by chance, is not taken from a report.
            assert report.outcome.request_id in {outcome.request_id, None}

    asyncio.run(scenario())


@asynccontextmanager
async def raw_receiver(reports: asyncio.Queue[tuple[bytes, str]]) -> AsyncIterator[str]:
    async def receive(request: web.Request) -> web.Response:
        reports.put_nowait((await request.read(), request.content_type))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/report", receive)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/report"
    finally:
        await runner.cleanup()


def test_smsc_has_no_reports() -> None:
    assert report_readers(settings_of("smsc")) == {}


@pytest.mark.parametrize("name", NAMES)
def test_as_they_stand_they_load_and_show_no_secret(name: str) -> None:
    secrets = {key: f"secret-{key.lower().replace('_', '-')}" for key in ENVIRON}
    shown = describe(settings_of(name, environ=secrets))
    assert f"[gateways.{name}]" in shown
    assert "secret-" not in shown


def test_there_is_nothing_else_in_the_folder() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {provider[0] for provider in PROVIDERS.values()}
