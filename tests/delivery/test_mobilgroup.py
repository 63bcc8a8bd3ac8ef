"""The mobilgroup client: what it sends, and what it makes of every documented answer (GATEWAY.md, first part)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

import orjson
import pytest

from otpservice.delivery.gateways.base import (
    AccountError,
    DefectError,
    GatewayError,
    Message,
    NotPermittedError,
    NumberRefusedError,
    UnavailableError,
)
from otpservice.delivery.gateways.mobilgroup import Mobilgroup, read_report
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback, Outcome
from otpservice.verification.reports import UnreadableReportError
from tests.support.gateways import Handler, Received, json_answer, running_gateway
from tests.support.policies import CODE, NUMBER

KEY = "the-key-of-our-account"
CALLBACK = "https://otp.example.com/v1/callbacks/mobilgroup/token"
OK = {
    "result": "ok",
    "state": "delivered",
    "state_reason": "",
    "resend": "",
    "number": NUMBER[1:],
    "code": CODE,
    "price": "1.50",
    "request_id": "a1-b2",
}


def message(code: str = CODE, fallback: Fallback = Fallback.SMS, callback_url: str | None = CALLBACK) -> Message:
    return Message(NUMBER, code, fallback, callback_url)


def send(
    handler: Handler, sent: Message | None = None, auth: Literal["header", "body"] = "header"
) -> tuple[Outcome, Received]:
    """Send one message to a gateway that answers so; what came out, and what the gateway got."""

    async def main() -> tuple[Outcome, Received]:
        async with running_gateway(handler) as http:
            client = Mobilgroup(name="mobilgroup", url=http.url, api_key=KEY, auth=auth, timeout=5, max_in_flight=2)
            try:
                outcome = await client.send(sent or message())
            finally:
                await client.aclose()
            [received] = http.received
            return outcome, received

    return asyncio.run(main())


def answered(**fields: Any) -> Outcome:
    return send(json_answer(OK | fields))[0]


# What is asked


def test_the_request_is_as_documented() -> None:
    _, received = send(json_answer(OK))
    assert received.path == "/api/send/"
    assert received.body == {
        "number": "79991234567",
        "resending": "sms",
        "code_length": "6",
        "code": CODE,
        "callback_url": CALLBACK,
    }
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["Charset"] == "utf-8"


def test_the_key_goes_bare_into_the_header() -> None:
    _, received = send(json_answer(OK))
    assert received.headers["Authorization"] == KEY
    assert "apiKey" not in received.body


def test_the_key_goes_to_the_top_of_the_body_where_that_is_set() -> None:
    _, received = send(json_answer(OK), auth="body")
    assert received.body["apiKey"] == KEY
    assert "Authorization" not in received.headers


@pytest.mark.parametrize(
    ("fallback", "resending"), [(Fallback.VOICE, "voice"), (Fallback.SMS, "sms"), (Fallback.NONE, "stop")]
)
def test_the_fallback_is_said_in_the_gateway_s_words(fallback: Fallback, resending: str) -> None:
    assert send(json_answer(OK), message(fallback=fallback))[1].body["resending"] == resending


@pytest.mark.parametrize("code", ["0421", "04213", "042137"])
def test_the_length_of_the_code_is_a_text(code: str) -> None:
    body = send(json_answer(OK), message(code))[1].body
    assert (body["code"], body["code_length"]) == (code, str(len(code)))


def test_no_reports_are_asked_for_where_there_is_nowhere_to_send_them() -> None:
    assert "callback_url" not in send(json_answer(OK), message(callback_url=None))[1].body


# What is answered


@pytest.mark.parametrize(
    ("state", "delivery", "channel", "reason"),
    [
        ("delivered", DeliveryState.DELIVERED, Channel.TELEGRAM, None),
        ("voice", DeliveryState.SENT, Channel.VOICE, None),
        ("send_voice", DeliveryState.SENT, Channel.VOICE, None),
        ("sms", DeliveryState.SENT, Channel.SMS, None),
        ("send_sms", DeliveryState.SENT, Channel.SMS, None),
        ("not_delivered", DeliveryState.FAILED, None, "not_delivered"),
    ],
)
def test_every_state_is_understood_in_answers_and_reports(
    state: str, delivery: DeliveryState, channel: Channel | None, reason: str | None
) -> None:
    expected = Outcome(delivery, channel, reason, "1.50", "a1-b2")
    assert answered(state=state) == expected
    report = json_bytes({**OK, "state": state, "date": "2020-02-02 15:18:48"})
    assert read_report(report).outcome == expected
    assert read_report(report).number == NUMBER


def test_the_gateway_s_reason_is_kept() -> None:
    assert answered(state="not_delivered", state_reason="no such user").reason == "no such user"
    assert answered(state="sms", state_reason="no Telegram").reason == "no Telegram"


@pytest.mark.parametrize(
    ("state", "reason"), [("carrier_pigeon", "carrier_pigeon"), (None, "no state"), (7, "no state"), ("", "no state")]
)
def test_a_state_that_nobody_has_heard_of_is_a_hand_over(state: object, reason: str) -> None:
    outcome = answered(state=state)
    assert (outcome.state, outcome.channel, outcome.reason) == (DeliveryState.SENT, None, reason)
    assert not outcome.is_recognised
    assert answered().is_recognised


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("number_is_empty", NumberRefusedError),
        ("number_not_valid", NumberRefusedError),
        ("number_in_spam_list", NumberRefusedError),
        ("number_not_permitted", NotPermittedError),
        ("authorisation_failed", AccountError),
        ("user_disabled", AccountError),
        ("not_enough_money", AccountError),
        ("unknown_request", DefectError),
        ("code_length_not_permitted", DefectError),
        ("code_not_correct", DefectError),
        ("code_length_error", DefectError),
        ("something_new", GatewayError),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_an_error_is_about_what_its_code_says_whatever_the_status(
    error: str, kind: type[GatewayError], status: int
) -> None:
    with pytest.raises(GatewayError) as refusal:
        send(json_answer({"result": "error", "error_code": error}, status))
    assert type(refusal.value) is kind
    assert refusal.value.reason == error


@pytest.mark.parametrize("error", [None, 5, "", [], {"a": 1}])
def test_an_error_without_a_code_is_unknown(error: object) -> None:
    with pytest.raises(GatewayError) as refusal:
        send(json_answer({"result": "error", "error_code": error}))
    assert type(refusal.value) is GatewayError
    assert refusal.value.reason == "unknown error"


def test_a_good_answer_is_good_whatever_the_status() -> None:
    assert send(json_answer(OK, 500))[0].state is DeliveryState.DELIVERED


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({}, 200, "answer without a result"),
        ({"result": "maybe"}, 200, "answer without a result"),
        ({"message": "down"}, 503, "http 503"),
        ({"result": ["ok"]}, 200, "answer without a result"),
    ],
)
def test_an_answer_without_a_result_is_worth_a_retry(body: Mapping[str, Any], status: int, reason: str) -> None:
    with pytest.raises(UnavailableError) as refusal:
        send(json_answer(body, status))
    assert refusal.value.reason == reason


# I4: the code in an answer is read past


def everywhere(code: str) -> dict[str, Any]:
    return {
        "state_reason": f"sent {code} to {NUMBER[1:]}",
        "request_id": f"r-{code}",
        "price": code,
        "resend": code,
        "code": code,
        "number": code,
        "note": code,
    }


@pytest.mark.parametrize("code", ["0421", "04213", "042137"])
@pytest.mark.parametrize("state", ["delivered", "sms", "not_delivered", "state 042137", "code 04213", "is 0421!"])
def test_the_code_gets_into_no_outcome(code: str, state: str) -> None:
    outcome, _ = send(json_answer(OK | everywhere(code) | {"state": state}), message(code))
    assert code not in repr(outcome)
    assert NUMBER[1:] not in repr(outcome)


@pytest.mark.parametrize("price", ["0421", "0421.00", "10421", "1.0421"])
def test_the_code_is_no_price(price: str) -> None:
    assert send(json_answer(OK | {"price": price}), message("0421"))[0].price is None


@pytest.mark.parametrize(
    "error", [CODE, f"bad code {CODE}", f"number_not_valid {NUMBER[1:]}", f"{CODE[:3]}\u200b{CODE}"]
)
def test_the_code_gets_into_no_error(error: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        send(json_answer({"result": "error", "error_code": error}))
    assert CODE not in repr(refusal.value)
    assert NUMBER[1:] not in repr(refusal.value)


@pytest.mark.parametrize(
    "price", [None, 1.5, "free", "1,50", "-1.50", "1.50 RUB", "12345678.00", "1.5e3", "\u0661.50", ""]
)
def test_what_is_no_price_is_none(price: object) -> None:
    assert answered(price=price).price is None


@pytest.mark.parametrize("request_id", [None, 5, "", "r" * 65, "a b", "a\nb", "é"])
def test_what_is_no_request_id_is_none(request_id: object) -> None:
    assert answered(request_id=request_id).request_id is None


@pytest.mark.parametrize("text", ["x" * 10_000, "\x00\x1b[31mred\r\n", "\ud800", "  ", {"a": 1}])
def test_free_text_is_short_and_printable(text: object) -> None:
    reason = answered(state="not_delivered", state_reason=text).reason
    assert reason is not None
    assert len(reason) <= 64
    assert reason.isprintable()


# What shows


def test_reprs_hide_keys_codes_and_numbers() -> None:
    async def main() -> None:
        client = Mobilgroup(name="mobilgroup", url="http://x", api_key=KEY, auth="body", timeout=1, max_in_flight=1)
        shown = f"{client!r} {client} {message()!r} {message()}"
        await client.aclose()
        for secret in (KEY, CODE, NUMBER[1:], CALLBACK):
            assert secret not in shown
        assert "+7999*****67" in shown

    asyncio.run(main())


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b'{"state": "delivered"}', b'{"number": "7"}', b'{"number": "7", "state": 1}']
)
def test_an_unreadable_report_says_what_is_wrong_without_repeating_it(body: bytes) -> None:
    with pytest.raises(UnreadableReportError) as refusal:
        read_report(body)
    assert str(refusal.value)
    assert not any(character.isdigit() for character in str(refusal.value))


def json_bytes(body: Mapping[str, Any]) -> bytes:
    return orjson.dumps(body)
