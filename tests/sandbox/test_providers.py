"""The sandbox as Twilio, SMSC and an in-house gateway: what each refuses, as its documentation has it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from tests.sandbox.support import API_KEY, CODE, Sandbox, with_sandbox

NUMBER = "+79990001100"
ACCOUNT = "AC00"
TWILIO_PATH = f"twilio/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
TWILIO = {"To": NUMBER, "From": "+15005550006", "Body": f"Code {CODE}"}
SMSC = {"login": "shop", "psw": API_KEY, "phones": NUMBER[1:], "mes": f"Code {CODE}", "charset": "utf-8", "fmt": "3"}
INHOUSE = {"to": NUMBER, "via": "sms", "text": f"Code {CODE}"}


async def post(sandbox: Sandbox, path: str, **request: Any) -> tuple[int, dict[str, Any]]:
    async with sandbox.session.post(f"{sandbox.url}/http/{path}", **request) as response:
        return response.status, await response.json()


async def twilio(sandbox: Sandbox, key: str = API_KEY, **changes: Any) -> tuple[int, dict[str, Any]]:
    form = {name: value for name, value in {**TWILIO, **changes}.items() if value is not None}
    return await post(sandbox, TWILIO_PATH, data=form, headers=basic(key))


def basic(key: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{ACCOUNT}:{key}'.encode()).decode()}"}


@with_sandbox()
async def test_twilio_takes_a_message(sandbox: Sandbox) -> None:
    status, answer = await twilio(sandbox)
    assert status == 201
    assert answer["sid"].startswith("SM")
    assert (answer["status"], answer["to"], answer["price"]) == ("queued", NUMBER, None)
    [shown] = await sandbox.messages(NUMBER[1:])
    assert (shown["code"], shown["text"], shown["channel"]) == (CODE, f"Code {CODE}", "sms")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": "wrong"}, 20003),
        ({"To": NUMBER[1:]}, 21211),
        ({"From": None}, 21603),
        ({"Body": None}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"StatusCallback": "here"}, 21609),
    ],
)
@with_sandbox()
async def test_twilio_refuses_what_breaks_its_contract(sandbox: Sandbox, changes: dict[str, Any], code: int) -> None:
    status, answer = await twilio(sandbox, **changes)
    assert (status, answer["code"]) == (401 if code == 20003 else 400, code)
    assert await sandbox.messages() == []


@with_sandbox()
async def test_twilio_takes_no_json(sandbox: Sandbox) -> None:
    assert (await post(sandbox, TWILIO_PATH, json=TWILIO, headers=basic(API_KEY)))[1]["code"] == 21211


@with_sandbox()
async def test_smsc_takes_a_message_and_says_what_it_costs_when_asked(sandbox: Sandbox) -> None:
    _, answer = await post(sandbox, "smsc/sys/send.php", data={**SMSC, "cost": "3"})
    assert (answer["cnt"], answer["cost"]) == (1, "3.00")
    [shown] = await sandbox.messages(NUMBER[1:])
    assert shown["code"] == CODE
    _, answer = await post(sandbox, "smsc/sys/send.php", data={**SMSC, "call": "1"})
    assert "cost" not in answer
    assert (await sandbox.messages(NUMBER[1:]))[0]["channel"] == "voice"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"psw": "wrong"}, 2),
        ({"login": ""}, 2),
        ({"phones": "me"}, 7),
        ({"mes": ""}, 1),
        ({"fmt": "1"}, 1),
        ({"charset": "klingon"}, 1),
    ],
)
@with_sandbox()
async def test_smsc_refuses_what_breaks_its_contract(sandbox: Sandbox, changes: dict[str, str], code: int) -> None:
    status, answer = await post(sandbox, "smsc/sys/send.php", data={**SMSC, **changes})
    assert (status, answer["error_code"]) == (200, code)
    assert await sandbox.messages() == []


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"to": "me"}, 422, "number_invalid"),
        ({"via": "pigeon"}, 400, "malformed"),
        ({"text": ""}, 400, "malformed"),
        ({"callback_url": "here"}, 400, "malformed"),
        ({"more": 1}, 400, "malformed"),
        ({"key": "wrong"}, 401, "unauthorized"),
    ],
)
@with_sandbox()
async def test_the_inhouse_gateway_refuses_what_breaks_its_contract(
    sandbox: Sandbox, changes: dict[str, Any], status: int, code: str
) -> None:
    key = changes.get("key", API_KEY)
    body = {**INHOUSE, **{name: value for name, value in changes.items() if name != "key"}}
    answered = await post(sandbox, "inhouse/v1/messages", json=body, headers={"Authorization": f"Bearer {key}"})
    assert answered == (status, {"error": {"code": code}})
    assert await sandbox.messages() == []


@pytest.mark.parametrize("ending", ["71", "76"])
@with_sandbox()
async def test_a_lost_message_is_paid_for_and_comes_to_no_phone(sandbox: Sandbox, ending: str) -> None:
    status, _ = await twilio(sandbox, To=f"+799900011{ending}")
    assert status == 201
    assert await sandbox.messages() == []
    assert (await sandbox.get("/balance"))["balance"] == "997.00"


@with_sandbox()
async def test_without_money_nothing_is_sent(sandbox: Sandbox) -> None:
    await sandbox.set_balance("2.99")
    assert (await twilio(sandbox))[1]["code"] == 20005
    assert (await post(sandbox, "smsc/sys/send.php", data=SMSC))[1]["error_code"] == 3
    assert await sandbox.messages() == []
