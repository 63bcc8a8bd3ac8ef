"""What each number does, as the table in GATEWAY.md says, over HTTP."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.sandbox.support import CODE, Sandbox, running_receiver, until, with_sandbox


@pytest.mark.parametrize("ending", ["00", "01", "42", "69", "76", "79", "86", "89", "97", "99"])
@with_sandbox()
async def test_a_number_with_telegram_gets_the_code_there(sandbox: Sandbox, ending: str) -> None:
    number = f"799900011{ending}"
    answer = await sandbox.send(number, resending="sms")
    request_id = answer.pop("request_id")
    assert answer == {
        "result": "ok",
        "state": "delivered",
        "state_reason": "",
        "resend": "",
        "number": number,
        "code": CODE,
        "price": "0.50",
    }
    (message,) = await sandbox.messages(number)
    assert message["channel"] == "telegram"
    assert message["code"] == CODE
    assert message["request_id"] == request_id
    assert CODE in message["text"]


@pytest.mark.parametrize(("fallback", "price"), [("sms", "3.00"), ("voice", "1.50")])
@with_sandbox()
async def test_70_uses_the_fallback(sandbox: Sandbox, fallback: str, price: str) -> None:
    answer = await sandbox.send("79990001170", resending=fallback)
    assert (answer["state"], answer["resend"], answer["price"]) == (fallback, fallback, price)
    (message,) = await sandbox.messages("79990001170")
    assert (message["channel"], message["code"]) == (fallback, CODE)


@pytest.mark.parametrize(
    ("ending", "fields"),
    [
        ("70", {}),
        ("70", {"resending": "stop"}),
        ("71", {}),
        ("71", {"resending": "sms"}),
        ("71", {"resending": "voice"}),
    ],
)
@with_sandbox()
async def test_what_cannot_be_delivered_costs_nothing_and_shows_nowhere(
    sandbox: Sandbox, ending: str, fields: dict[str, str]
) -> None:
    answer = await sandbox.send(f"799900011{ending}", **fields)
    assert answer["result"] == "ok"
    assert (answer["state"], answer["resend"], answer["price"]) == ("not_delivered", "", "0.00")
    assert answer["state_reason"]
    assert await sandbox.messages() == []
    assert (await sandbox.get("/balance")) == {"balance": "1000.00"}


@pytest.mark.parametrize("fallback", ["sms", "voice", "stop"])
@with_sandbox()
async def test_72_answers_sms_and_reports_delivered(sandbox: Sandbox, fallback: str) -> None:
    async with running_receiver() as receiver:
        answer = await sandbox.send("79990001172", resending=fallback, callback_url=receiver.url)
        callback = await receiver.next()
    assert (answer["state"], answer["resend"]) == ("sms", "sms")
    assert callback["state"] == "delivered"
    assert callback["request_id"] == answer["request_id"]
    (message,) = await sandbox.messages()
    assert message["channel"] == "telegram"


@pytest.mark.parametrize(
    ("ending", "error_code"),
    [
        ("80", "number_not_valid"),
        ("81", "number_not_permitted"),
        ("82", "number_in_spam_list"),
        ("83", "not_enough_money"),
        ("84", "user_disabled"),
        ("85", "authorisation_failed"),
    ],
)
@with_sandbox()
async def test_80_to_85_are_refused(sandbox: Sandbox, ending: str, error_code: str) -> None:
    response = await sandbox.raw_send(f"799900011{ending}")
    assert response.status == 200
    assert await response.json() == {"result": "error", "error_code": error_code}
    assert await sandbox.messages() == []
    assert (await sandbox.get("/stats"))["requests"] == {error_code: 1}


@with_sandbox(slow_seconds=0.05)
async def test_90_answers_late(sandbox: Sandbox) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    answer = await sandbox.send("79990001190")
    assert loop.time() - begun >= 0.05
    assert answer["state"] == "delivered"


@with_sandbox(slow_seconds=60)
async def test_the_code_of_90_is_on_the_phone_before_the_answer(sandbox: Sandbox) -> None:
    async with running_receiver() as receiver:
        sending = asyncio.create_task(sandbox.send("79990001190", callback_url=receiver.url))
        await until(lambda: _has_messages(sandbox))
        assert not sending.done()
        assert receiver.is_empty
        # A client that gives up may have been served all the same, and learns so by callback.
        sending.cancel()
        assert (await receiver.next())["state"] == "delivered"


async def _has_messages(sandbox: Sandbox) -> bool:
    return len(await sandbox.messages()) > 0


@with_sandbox()
async def test_91_never_answers(sandbox: Sandbox) -> None:
    sendings = [asyncio.create_task(sandbox.send("79990001191")) for _ in range(50)]

    async def all_are_in_flight() -> bool:
        return bool((await sandbox.get("/stats"))["in_flight"] == 50)

    await until(all_are_in_flight)
    assert not any(sending.done() for sending in sendings)
    assert (await sandbox.send("79990001101"))["state"] == "delivered"
    for sending in sendings:
        sending.cancel()

    async def none_is_in_flight() -> bool:
        return bool((await sandbox.get("/stats"))["in_flight"] == 0)

    await until(none_is_in_flight)


@with_sandbox()
async def test_92_is_a_server_error_without_json(sandbox: Sandbox) -> None:
    response = await sandbox.raw_send("79990001192")
    assert response.status == 500
    assert response.content_type == "text/plain"


@with_sandbox()
async def test_93_is_html_where_json_is_due(sandbox: Sandbox) -> None:
    response = await sandbox.raw_send("79990001193")
    assert (response.status, response.content_type) == (200, "text/html")
    assert (await response.text()).startswith("<!DOCTYPE html>")


@with_sandbox()
async def test_94_closes_the_connection(sandbox: Sandbox) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await sandbox.send("79990001194")
    assert await sandbox.messages() == []


@with_sandbox()
async def test_95_asks_to_wait(sandbox: Sandbox) -> None:
    response = await sandbox.raw_send("79990001195")
    assert (response.status, response.headers["Retry-After"]) == (429, "1")


@with_sandbox()
async def test_96_works_on_the_third_try_of_the_same_send(sandbox: Sandbox) -> None:
    for _ in range(2):
        tries = [(await sandbox.raw_send("79990001196")).status for _ in range(3)]
        assert tries == [500, 500, 200]
    # Another code is another send: it fails twice as well.
    assert (await sandbox.raw_send("79990001196", code="654321")).status == 500
    assert len(await sandbox.messages("79990001196")) == 2


@with_sandbox(max_messages=2)
async def test_the_tries_of_96_that_are_remembered_are_limited(sandbox: Sandbox) -> None:
    for number in ("79990001196", "79990002196", "79990003196"):
        assert [(await sandbox.raw_send(number)).status for _ in range(2)] == [500, 500]
    # The first of the three has been forgotten and begins anew; the last has not.
    assert (await sandbox.raw_send("79990001196")).status == 500
    assert (await sandbox.raw_send("79990003196")).status == 200


@pytest.mark.parametrize("ending", ["91", "92", "93", "94", "95", "96"])
@with_sandbox()
async def test_what_fails_costs_nothing_and_a_bad_request_is_refused_first(sandbox: Sandbox, ending: str) -> None:
    answer = await sandbox.send(f"799900011{ending}", code="12")
    assert answer == {"result": "error", "error_code": "code_length_error"}
    assert (await sandbox.get("/balance")) == {"balance": "1000.00"}
