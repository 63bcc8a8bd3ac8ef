"""Telegram's own gateway first, then an SMS and a voice provider told by settings, all played by the sandbox."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from otpservice.verification.digests import Keyring
from tests.e2e.system import Caller, System, digit_runs, new_number, other_than, system, wait_until
from tests.support.policies import EXPIRES

ROUTE = ("telegram", "inhouse_sms", "inhouse_call")
INHOUSE = Path(__file__).parents[2] / "config" / "gateways" / "inhouse.toml"
TOKEN = "sandbox-key"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("kinds")) as made:
        yield made


@pytest.fixture(scope="module")
def caller(parts: System) -> Iterator[Caller]:
    telegram = f"""
[gateways.telegram]
kind = "telegram_gateway"
url = "{parts.sandbox.url}/telegram"
token = "{TOKEN}"
timeout = 1.5
"""
    inhouse = INHOUSE.read_text("utf-8").replace("https://sms.example.com", f"{parts.sandbox.url}/http/inhouse")
    inhouse = inhouse.replace("env:INHOUSE_TOKEN", TOKEN).replace('channel = "', 'timeout = 1.5\nchannel = "')
    with parts.serve(route=ROUTE, gateways=telegram + inhouse) as running:
        yield running


def requests(parts: System, what: str) -> int:
    return int(parts.sandbox.stats()["requests"].get(what, 0))


def in_the_end(caller: Caller, id: str, state: str) -> dict[str, Any]:
    """The delivery, once a report has made it so."""
    found: dict[str, Any] = wait_until(
        lambda: (delivery := caller.get(id)["delivery"])["state"] == state and delivery, f"a report of {state}"
    )
    return found


def test_telegram_takes_a_code_and_reports_that_it_arrived(caller: Caller, parts: System) -> None:
    number = new_number()
    id_ = caller.start(number)["id"]
    assert in_the_end(caller, id_, "delivered") == {
        "state": "delivered",
        "channel": "telegram",
        "reason": None,
        "price": "0.50",
        "gateway": "telegram",
    }
    [message] = parts.sandbox.messages(number)
    assert message["channel"] == "telegram"
    assert caller.verify(id_, message["code"]).status_code == 200


@pytest.mark.parametrize(("fallback", "channel"), [("sms", "sms"), ("voice", "voice")])
def test_without_telegram_the_code_goes_by_the_channel_that_was_asked_for(
    caller: Caller, parts: System, fallback: str, channel: str
) -> None:
    number = new_number("70")
    id_ = caller.start(number, fallback=fallback)["id"]
    delivery = in_the_end(caller, id_, "delivered")
    assert (delivery["channel"], delivery["gateway"].startswith("inhouse")) == (channel, True)
    [message] = parts.sandbox.messages(number)
    assert message["channel"] == channel
    assert caller.verify(id_, message["code"]).status_code == 200


def test_without_telegram_and_without_a_fallback_nothing_is_sent_by_sms_or_voice(caller: Caller, parts: System) -> None:
    number = new_number("70")
    delivery = caller.settled(caller.start(number, fallback="none")["id"])
    assert (delivery["state"], delivery["reason"]) == ("failed", "the number has no Telegram")
    assert parts.sandbox.messages(number) == []


def test_a_message_that_expires_costs_nothing(caller: Caller) -> None:
    delivery = in_the_end(caller, caller.start(new_number("76"))["id"], "failed")
    assert (delivery["reason"], delivery["price"]) == ("expired, refunded", "0.00")


def test_an_sms_that_is_lost_is_reported_as_failed(caller: Caller) -> None:
    delivery = in_the_end(caller, caller.start(new_number("71"))["id"], "failed")
    assert (delivery["reason"], delivery["channel"]) == ("undelivered", "sms")


@pytest.mark.parametrize(
    ("ending", "state", "reason"),
    [
        ("80", "failed", "PHONE_NUMBER_INVALID"),
        ("90", "sent", None),
        ("92", "failed", "http 500"),
        ("96", "sent", None),
    ],
)
def test_a_send_ends_as_telegram_says(caller: Caller, ending: str, state: str, reason: str | None) -> None:
    delivery = caller.settled(caller.start(new_number(ending))["id"])
    assert delivery["reason"] == reason
    assert delivery["state"] in {state, "delivered"} if state == "sent" else delivery["state"] == state


def test_telegram_hears_what_people_typed_after_they_were_answered(caller: Caller, parts: System) -> None:
    number = new_number()
    id_ = caller.start(number)["id"]
    in_the_end(caller, id_, "delivered")
    code = parts.sandbox.code(number)
    valid, invalid = requests(parts, "telegram code_valid"), requests(parts, "telegram code_invalid")
    assert caller.verify(id_, other_than(code)).status_code == 422
    assert caller.verify(id_, code).status_code == 200
    wait_until(lambda: requests(parts, "telegram code_valid") == valid + 1, "the right code to be reported")
    assert requests(parts, "telegram code_invalid") == invalid + 1


def test_what_people_typed_for_another_gateway_is_told_nobody(caller: Caller, parts: System) -> None:
    number = new_number("70")
    id_ = caller.start(number)["id"]
    in_the_end(caller, id_, "delivered")
    assert caller.verify(id_, parts.sandbox.code(number)).status_code == 200
    assert parts.valkey.client().exists("otp:{0}:verdicts") == 0


def test_reports_are_believed_only_when_telegram_signed_them(caller: Caller, parts: System) -> None:
    """The address alone, which goes through whatever logs requests, moves nothing."""
    number = new_number("75")  # no report of its own
    id_ = caller.start(number)["id"]
    before = caller.settled(id_)
    assert before["state"] == "sent"
    token = Keyring([parts.secret_key.encode()]).callback_token("telegram", id_, 1, EXPIRES)
    body = json.dumps({"request_id": "1", "phone_number": number, "delivery_status": {"status": "read"}}).encode()

    def post(key: str, timestamp: int, body_sent: bytes = body) -> int:
        signature = hmac.digest(sha256(key.encode()).digest(), f"{timestamp}\n".encode() + body, "sha256").hex()
        headers = {"X-Request-Timestamp": str(timestamp), "X-Request-Signature": signature}
        url = f"{caller.url}/v1/callbacks/telegram/{token}"
        return httpx.post(url, content=body_sent, headers=headers).status_code

    now = int(time.time())
    assert httpx.post(f"{caller.url}/v1/callbacks/telegram/{token}", content=body).status_code == 404
    assert post("another-token", now) == 404
    assert post(TOKEN, now - 400) == 404
    assert post(TOKEN, now + 400) == 404
    assert post(TOKEN, now, body.replace(b"read", b"sent")) == 404
    assert caller.get(id_)["delivery"] == before
    assert post(TOKEN, now) == 204
    assert caller.get(id_)["delivery"]["state"] == "delivered"


def test_no_code_is_logged_on_the_way(caller: Caller, parts: System) -> None:
    codes = set()
    for ending in ("00", "70", "81", "92"):
        number = new_number(ending)
        caller.settled(caller.start(number)["id"])
        codes |= {message["code"] for message in parts.sandbox.messages(number)}
    assert len(codes) >= 2
    assert not codes & digit_runs(parts.logs)
