"""Telegram's own gateway: what it is asked, what its answers mean, whose reports are believed (GATEWAY.md)."""

from __future__ import annotations

import hmac
import json
from hashlib import sha256
from typing import Any

import pytest

from otpservice.delivery.gateways.base import (
    AccountError,
    AnswerTimeoutError,
    GatewayError,
    NotPermittedError,
    NumberRefusedError,
    UnavailableError,
)
from otpservice.delivery.gateways.telegram_gateway import TelegramGateway, TelegramReports
from otpservice.verification.lifecycle import Channel, DeliveryState, Outcome
from otpservice.verification.reports import UnreadableReportError, UntrustedReportError
from tests.gateways.support import CALLBACK, CODE, NUMBER, Provider, message, run, running

TOKEN = "AAFb-token"
REQUEST_ID = "1f2e-3d4c"
ABLE = (200, {"ok": True, "result": {"request_id": REQUEST_ID, "phone_number": NUMBER, "request_cost": 0.0125}})
NOW = 1_700_000_000


def status(delivery: str = "sent", **more: Any) -> dict[str, Any]:
    result = {"request_id": REQUEST_ID, "phone_number": NUMBER, "request_cost": 0.01, **more}
    return {**result, "delivery_status": {"status": delivery, "updated_at": NOW}}


def yes(result: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"ok": True, "result": result}


def no(error: str, http_status: int = 200) -> tuple[int, Any]:
    return http_status, {"ok": False, "error": error}


def client(provider: Provider, sender_username: str | None = None, timeout: float = 5) -> TelegramGateway:
    return TelegramGateway(
        name="telegram",
        url=f"{provider.url}/",
        token=TOKEN,
        ttl=120,
        sender_username=sender_username,
        timeout=timeout,
        max_in_flight=2,
    )


async def send(*answers: Any, **options: Any) -> tuple[Outcome | GatewayError, Provider]:
    """How one send ends, and what was asked for it."""
    async with running(*answers) as provider:
        gateway = client(provider, options.pop("sender_username", None))
        try:
            return await gateway.send(message(**options)), provider
        except GatewayError as error:
            return error, provider
        finally:
            await gateway.aclose()


def test_a_send_is_a_check_and_a_message_under_the_same_id() -> None:
    async def scenario() -> None:
        outcome, provider = await send(ABLE, yes(status()), sender_username="shop")
        assert outcome == Outcome(DeliveryState.SENT, Channel.TELEGRAM, None, "0.01", REQUEST_ID)
        assert [(asked.method, asked.path) for asked in provider.asked] == [
            ("POST", "/checkSendAbility"),
            ("POST", "/sendVerificationMessage"),
        ]
        for asked in provider.asked:
            assert asked.headers["authorization"] == f"Bearer {TOKEN}"
            assert asked.headers["content-type"] == "application/json"
        check, sending = (json.loads(asked.body) for asked in provider.asked)
        assert check == {"phone_number": NUMBER}
        assert sending == {
            "phone_number": NUMBER,
            "request_id": REQUEST_ID,
            "code": CODE,
            "ttl": 120,
            "sender_username": "shop",
            "callback_url": CALLBACK,
        }

    run(scenario())


def test_without_reports_and_sender_neither_is_asked_for() -> None:
    async def scenario() -> None:
        _, provider = await send(ABLE, yes(status()), callback_url=None)
        assert json.loads(provider.asked[1].body).keys() == {"phone_number", "request_id", "code", "ttl"}

    run(scenario())


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        ("ACCESS_TOKEN_INVALID", AccountError, "ACCESS_TOKEN_INVALID"),
        ("BALANCE_NOT_ENOUGH", AccountError, "BALANCE_NOT_ENOUGH"),
        ("PHONE_NUMBER_INVALID", NumberRefusedError, "PHONE_NUMBER_INVALID"),
        ("PHONE_NUMBER_NOT_AVAILABLE", NotPermittedError, "the number has no Telegram"),
        ("PHONE_NUMBER_NOT_FOUND", NotPermittedError, "the number has no Telegram"),
        ("SOMETHING_NEW", NotPermittedError, "SOMETHING_NEW"),
        ("FLOOD_WAIT_7", UnavailableError, "FLOOD_WAIT"),
    ],
)
def test_what_the_check_says_decides_before_anything_is_sent(error: str, kind: type[GatewayError], reason: str) -> None:
    async def scenario() -> None:
        ended, provider = await send(no(error))
        assert isinstance(ended, kind)
        assert ended.reason == reason
        assert len(provider.asked) == 1

    run(scenario())


@pytest.mark.parametrize(
    ("error", "kind"),
    [("SENDER_NOT_VERIFIED", AccountError), ("TTL_INVALID", GatewayError), ("SOMETHING_NEW", GatewayError)],
)
def test_what_the_message_is_refused_for_is_not_taken_for_the_number(error: str, kind: type[GatewayError]) -> None:
    async def scenario() -> None:
        ended, provider = await send(ABLE, no(error))
        assert type(ended) is kind
        assert len(provider.asked) == 2

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (no("FLOOD_WAIT_7"), 7.0),
        ((429, {"ok": False, "error": "FLOOD_WAIT"}, {"Retry-After": "3"}), 3.0),
        ((429, {}, {"Retry-After": "2"}), 2.0),
        ((503, {}), None),
    ],
)
def test_it_says_when_to_come_again(answer: Any, seconds: float | None) -> None:
    async def scenario() -> None:
        ended, _ = await send(answer)
        assert isinstance(ended, UnavailableError)
        assert ended.retry_after == seconds

    run(scenario())


def test_a_message_is_tried_again_under_its_id_so_that_it_is_not_billed_twice() -> None:
    async def scenario() -> None:
        outcome, provider = await send(ABLE, (500, {}), yes(status()))
        assert isinstance(outcome, Outcome)
        assert [asked.path for asked in provider.asked] == [
            "/checkSendAbility",
            "/sendVerificationMessage",
            "/sendVerificationMessage",
        ]
        assert {json.loads(asked.body)["request_id"] for asked in provider.asked[1:]} == {REQUEST_ID}

    run(scenario())


def test_a_message_that_cannot_be_sent_is_not_begun_anew() -> None:
    """Only an UnavailableError makes the route ask again, and that would be a new check and a new fee."""

    async def scenario() -> None:
        ended, _ = await send(ABLE, (500, {}))
        assert type(ended) is GatewayError

    run(scenario())


def test_a_message_that_had_been_sent_after_all_is_sent() -> None:
    async def scenario() -> None:
        outcome, _ = await send(ABLE, (500, {}), no("MESSAGE_ALREADY_SENT"))
        assert outcome == Outcome(DeliveryState.SENT, Channel.TELEGRAM, None, "0.0125", REQUEST_ID)

    run(scenario())


@pytest.mark.parametrize("answer", [{"ok": True, "result": {}}, {"ok": True, "result": {"request_id": 5}}])
def test_a_check_without_an_id_goes_to_the_next_gateway(answer: Any) -> None:
    async def scenario() -> None:
        ended, provider = await send((200, answer))
        assert isinstance(ended, GatewayError)
        assert len(provider.asked) == 1

    run(scenario())


def test_what_was_typed_is_told_with_the_id_of_its_message() -> None:
    async def scenario() -> None:
        async with running(yes(status())) as provider:
            gateway = client(provider)
            await gateway.confirm(REQUEST_ID, "123456")
            await gateway.aclose()
        [asked] = provider.asked
        assert asked.path == "/checkVerificationStatus"
        assert json.loads(asked.body) == {"request_id": REQUEST_ID, "code": "123456"}

    run(scenario())


def test_a_refused_verdict_is_a_gateway_error() -> None:
    async def scenario() -> None:
        async with running(no("REQUEST_ID_INVALID")) as provider:
            gateway = client(provider)
            with pytest.raises(GatewayError, match="REQUEST_ID_INVALID"):
                await gateway.confirm(REQUEST_ID, "123456")
            await gateway.aclose()

    run(scenario())


def test_a_send_takes_no_longer_than_its_timeout_in_all() -> None:
    """Both requests answer in time, and together they do not: the next gateway must have its turn."""

    async def scenario() -> None:
        async with running(ABLE, yes(status())) as provider:
            provider.seconds = 0.3
            gateway = client(provider, timeout=0.5)
            with pytest.raises(AnswerTimeoutError):
                await gateway.send(message())
            await gateway.aclose()
            assert len(provider.asked) == 2

    run(scenario())


def test_it_shows_no_secret() -> None:
    assert repr(client(Provider([]))) == "TelegramGateway(name='telegram')"


# Reports


def signed(body: bytes, *, key: str = TOKEN, timestamp: str = str(NOW)) -> dict[str, str]:
    signature = hmac.digest(sha256(key.encode()).digest(), timestamp.encode() + b"\n" + body, "sha256").hex()
    return {"x-request-timestamp": timestamp, "x-request-signature": signature}


def read(report: Any, now: float = NOW) -> Outcome:
    body = json.dumps(report).encode()
    found = TelegramReports(TOKEN)(body, signed(body), now)
    assert found.number == NUMBER
    return found.outcome


@pytest.mark.parametrize(
    ("delivery", "state", "reason"),
    [
        ("sent", DeliveryState.SENT, None),
        ("delivered", DeliveryState.DELIVERED, None),
        ("read", DeliveryState.DELIVERED, None),
        ("expired", DeliveryState.FAILED, "expired"),
        ("revoked", DeliveryState.FAILED, "revoked"),
    ],
)
def test_a_report_says_what_became_of_the_message(delivery: str, state: DeliveryState, reason: str | None) -> None:
    assert read(status(delivery)) == Outcome(state, Channel.TELEGRAM, reason, "0.01", REQUEST_ID)


def test_a_refund_makes_it_cost_nothing_and_is_noted() -> None:
    assert read(status("expired", is_refunded=True)) == Outcome(
        DeliveryState.FAILED, Channel.TELEGRAM, "expired, refunded", "0.00", REQUEST_ID
    )


def test_a_state_that_nobody_has_heard_of_leaves_it_sent() -> None:
    outcome = read(status("teleported"))
    assert (outcome.state, outcome.reason, outcome.is_recognised) == (DeliveryState.SENT, "teleported", False)


def test_the_number_may_come_without_its_plus() -> None:
    read(status(phone_number=NUMBER[1:]))


BODY = json.dumps(status("read")).encode()


@pytest.mark.parametrize("now", [NOW - 300, NOW, NOW + 300])
def test_a_timestamp_may_be_five_minutes_off(now: float) -> None:
    assert TelegramReports(TOKEN)(BODY, signed(BODY), now).number == NUMBER


@pytest.mark.parametrize("now", [NOW - 301, NOW + 301])
def test_an_older_or_newer_report_is_not_believed(now: float) -> None:
    with pytest.raises(UntrustedReportError, match="timestamp"):
        TelegramReports(TOKEN)(BODY, signed(BODY), now)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(BODY, key="another"),
        signed(BODY + b" "),
        signed(BODY) | {"x-request-timestamp": str(NOW + 1)},
        signed(BODY) | {"x-request-signature": ""},
        signed(BODY) | {"x-request-signature": "\u00e9" * 64},
        signed(BODY, timestamp="now"),
        signed(BODY, timestamp=f"{NOW}.0"),
    ],
)
def test_a_report_that_is_not_signed_as_it_should_be_is_not_believed(headers: dict[str, str]) -> None:
    with pytest.raises(UntrustedReportError):
        TelegramReports(TOKEN)(BODY, headers, NOW)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"{}", b'{"phone_number": 7, "delivery_status": {"status": "read"}}', b'{"phone_number": "+7"}'],
)
def test_a_signed_body_that_is_no_report_cannot_be_read(body: bytes) -> None:
    with pytest.raises(UnreadableReportError):
        TelegramReports(TOKEN)(body, signed(body), NOW)
