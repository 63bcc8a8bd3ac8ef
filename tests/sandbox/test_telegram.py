"""The sandbox as Telegram's own gateway: strict where the contract is strict, told by a number's ending."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
from aiohttp import web

from tests.sandbox.support import API_KEY, CODE, Sandbox, with_sandbox

NUMBER = "+79990001100"


async def call(sandbox: Sandbox, method: str, key: str = API_KEY, **body: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    async with sandbox.session.post(f"{sandbox.url}/telegram/{method}", json=body, headers=headers) as response:
        answer: dict[str, Any] = await response.json()
        return answer


async def able(sandbox: Sandbox, number: str = NUMBER) -> str:
    answer = await call(sandbox, "checkSendAbility", phone_number=number)
    return str(answer["result"]["request_id"])


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[str, asyncio.Queue[tuple[dict[str, str], bytes]]]]:
    reports: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        reports.put_nowait((dict(request.headers), await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/report", receive)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/report", reports
    finally:
        await runner.cleanup()


@with_sandbox(balance=Decimal("1.00"))
async def test_the_check_costs_money_and_the_message_under_its_id_does_not(sandbox: Sandbox) -> None:
    request_id = await able(sandbox)
    assert (await sandbox.get("/balance"))["balance"] == "0.50"
    sent = await call(
        sandbox, "sendVerificationMessage", phone_number=NUMBER, request_id=request_id, code=CODE, payload="p"
    )
    assert (sent["result"]["request_id"], sent["result"]["payload"]) == (request_id, "p")
    assert sent["result"]["delivery_status"]["status"] == "sent"
    assert (await sandbox.get("/balance"))["balance"] == "0.50"
    [shown] = await sandbox.messages(NUMBER[1:])
    assert (shown["code"], shown["channel"]) == (CODE, "telegram")


@with_sandbox()
async def test_a_message_without_a_check_costs_money_too(sandbox: Sandbox) -> None:
    await call(sandbox, "sendVerificationMessage", phone_number=NUMBER, code_length=5)
    [shown] = await sandbox.messages(NUMBER[1:])
    assert len(shown["code"]) == 5
    assert (await sandbox.get("/balance"))["balance"] == "999.50"


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ("70", "PHONE_NUMBER_NOT_AVAILABLE"),
        ("71", "PHONE_NUMBER_NOT_AVAILABLE"),
        ("80", "PHONE_NUMBER_INVALID"),
        ("81", "PHONE_NUMBER_NOT_AVAILABLE"),
        ("83", "BALANCE_NOT_ENOUGH"),
        ("85", "ACCESS_TOKEN_INVALID"),
    ],
)
@with_sandbox()
async def test_a_number_is_refused_as_its_ending_says(sandbox: Sandbox, ending: str, error: str) -> None:
    answer = await call(sandbox, "checkSendAbility", phone_number=f"+799900011{ending}")
    assert answer == {"ok": False, "error": error}
    assert (await sandbox.get("/balance"))["balance"] == "1000.00"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"phone_number": "me"}, "PHONE_NUMBER_INVALID"),
        ({"phone_number": "+79990001101"}, "PHONE_NUMBER_MISMATCH"),
        ({"request_id": "x"}, "REQUEST_ID_INVALID"),
        ({"code": "123"}, "CODE_INVALID"),
        ({"code": 123456}, "CODE_INVALID"),
        ({"code": None}, "CODE_LENGTH_INVALID"),
        ({"ttl": 29}, "TTL_INVALID"),
        ({"ttl": 3601}, "TTL_INVALID"),
        ({"payload": "p" * 129}, "PAYLOAD_INVALID"),
        ({"callback_url": "ftp://x"}, "CALLBACK_URL_INVALID"),
        ({"callback_url": f"http://x/{'a' * 250}"}, "CALLBACK_URL_INVALID"),
    ],
)
@with_sandbox()
async def test_a_message_that_breaks_the_contract_is_refused(
    sandbox: Sandbox, changes: dict[str, Any], error: str
) -> None:
    body = {"phone_number": NUMBER, "request_id": await able(sandbox), "code": CODE, "ttl": 60, **changes}
    assert await call(sandbox, "sendVerificationMessage", **body) == {"ok": False, "error": error}
    assert await sandbox.messages() == []


@with_sandbox()
async def test_a_request_is_sent_once(sandbox: Sandbox) -> None:
    body = {"phone_number": NUMBER, "request_id": await able(sandbox), "code": CODE}
    assert (await call(sandbox, "sendVerificationMessage", **body))["ok"]
    assert (await call(sandbox, "sendVerificationMessage", **body))["error"] == "MESSAGE_ALREADY_SENT"


@with_sandbox()
async def test_only_the_key_lets_in_and_only_known_methods_are_answered(sandbox: Sandbox) -> None:
    refused = await call(sandbox, "checkSendAbility", key="other", phone_number=NUMBER)
    assert refused["error"] == "ACCESS_TOKEN_INVALID"
    assert (await call(sandbox, "getMe"))["error"] == "UNKNOWN_METHOD"


@with_sandbox()
async def test_it_says_whether_a_code_that_was_typed_is_the_one(sandbox: Sandbox) -> None:
    request_id = await able(sandbox)
    await call(sandbox, "sendVerificationMessage", phone_number=NUMBER, request_id=request_id, code=CODE)
    for typed, status in ((CODE, "code_valid"), ("000000", "code_invalid")):
        answer = await call(sandbox, "checkVerificationStatus", request_id=request_id, code=typed)
        assert answer["result"]["verification_status"]["status"] == status


@pytest.mark.parametrize(("ending", "status", "balance"), [("00", "delivered", "999.50"), ("76", "expired", "1000.00")])
@with_sandbox()
async def test_it_signs_its_reports_and_refunds_what_expired(
    sandbox: Sandbox, ending: str, status: str, balance: str
) -> None:
    number = f"+799900011{ending}"
    async with receiver() as (url, reports):
        await call(
            sandbox,
            "sendVerificationMessage",
            phone_number=number,
            request_id=await able(sandbox, number),
            code=CODE,
            callback_url=url,
        )
        headers, body = await reports.get()
    signed = headers["X-Request-Timestamp"].encode() + b"\n" + body
    expected = hmac.digest(sha256(API_KEY.encode()).digest(), signed, "sha256").hex()
    assert headers["X-Request-Signature"] == expected
    assert f'"status": "{status}"'.encode() in body
    assert (b'"is_refunded": true' in body) == (status == "expired")
    assert (await sandbox.get("/balance"))["balance"] == balance
