"""Any provider, told by templates: what it is sent, character by character, and what its answers mean."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from otpservice.delivery.gateways.base import (
    AccountError,
    GatewayError,
    NotPermittedError,
    NumberRefusedError,
    UnavailableError,
)
from otpservice.delivery.gateways.http_provider import HttpProvider, HttpReports
from otpservice.delivery.gateways.http_rules import AnswerRules, ErrorRules, ReportRules, StateRules, Template
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback, Outcome
from otpservice.verification.reports import UnreadableReportError
from tests.gateways.support import CALLBACK, CODE, NUMBER, Provider, message, run, running

NASTY = '"}\\ &=?#/%0d\n\u00e9{code}'
ANSWER = AnswerRules(id="m.0.id", state="m.0.state", price="m.0.price", error="error.code")
STATES = StateRules(sent=("queued",), delivered=("done",), failed=("lost",))
ERRORS = ErrorRules(number=("21211",), account=("20003",), declined=("21408",), retry=("busy",))
TAKEN = (200, {"m": [{"id": "id-1", "state": "queued", "price": "-0.00750"}]})


def t(text: str) -> Template:
    return Template(text)


def client(provider: Provider, **changes: Any) -> HttpProvider:
    settings: dict[str, Any] = {
        "name": "sms",
        "channel": Channel.SMS,
        "method": "POST",
        "url": t(provider.url + "/send"),
        "text": t("Code {code}, {own}"),
        "headers": {},
        "query": {},
        "body": {"to": t("{number}"), "text": t("{text}")},
        "format": "json",
        "basic_auth": None,
        "values": {"own": NASTY},
        "answer": ANSWER,
        "states": STATES,
        "errors": ERRORS,
        "timeout": 5,
        "max_in_flight": 2,
    }
    settings |= changes
    if "path" in settings:
        settings["url"] = t(provider.url + settings.pop("path"))
    return HttpProvider(**settings)


async def ended(*answers: Any, callback_url: str | None = CALLBACK, **changes: Any) -> tuple[Any, Provider]:
    async with running(*answers) as provider:
        gateway = client(provider, **changes)
        try:
            return await gateway.send(message(callback_url=callback_url)), provider
        except GatewayError as error:
            return error, provider
        finally:
            await gateway.aclose()


def sent(callback_url: str | None = CALLBACK, **changes: Any) -> Any:
    async def scenario() -> Any:
        _, provider = await ended(TAKEN, callback_url=callback_url, **changes)
        [asked] = provider.asked
        return asked

    return run(scenario())


def outcome(*answers: Any, **changes: Any) -> Any:
    async def scenario() -> Any:
        found, _ = await ended(*answers, **changes)
        return found

    return run(scenario())


TEXT = f"Code {CODE}, {NASTY}"


def test_json_holds_what_is_filled_in_as_one_text_whatever_it_is() -> None:
    asked = sent(body={"to": t("{digits}"), "deep": ({"text": t("{text}")}, 1, True), "via": t("{fallback}")})
    assert asked.headers["content-type"] == "application/json"
    assert json.loads(asked.body) == {"to": NUMBER[1:], "deep": [{"text": TEXT}, 1, True], "via": "sms"}


def test_a_form_holds_what_is_filled_in_as_one_field_whatever_it_is() -> None:
    asked = sent(format="form", body={"To": t("{number}"), "Body": t("{text}")})
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qsl(asked.body.decode()) == [("To", NUMBER), ("Body", TEXT)]


def test_an_address_keeps_its_shape_whatever_is_filled_in() -> None:
    asked = sent(path="/a/{own}/{number}/send", query={"q": t("{own}")}, method="GET", body=None)
    assert asked.method == "GET"
    assert asked.body == b""
    path, _, query = asked.path.partition("?")
    assert path.count("/") == 4
    assert parse_qs(query) == {"q": [NASTY]}
    assert urlsplit(asked.url).fragment == ""


def test_what_is_filled_in_is_not_read_as_a_template_again() -> None:
    asked = sent(body={"to": t("{number}"), "text": t("{own} {code}")})
    assert json.loads(asked.body)["text"] == f"{NASTY} {CODE}"


def test_double_braces_are_braces() -> None:
    assert json.loads(sent(body={"text": t('{{"a": {code}}}')}).body) == {"text": f'{{"a": {CODE}}}'}


def test_headers_are_filled_in_and_basic_authentication_is_written() -> None:
    asked = sent(headers={"X-Key": t("k-{token}")}, values={"token": "t", "own": ""}, basic_auth=("user", "p:w"))
    assert asked.headers["x-key"] == "k-t"
    assert asked.headers["authorization"] == "Basic dXNlcjpwOnc="


def test_what_asks_for_reports_is_left_out_where_none_are_wanted() -> None:
    body = {"to": t("{number}"), "text": t("{text}"), "hook": t("{callback_url}"), "hooks": (t("{callback_url}"),)}
    assert json.loads(sent(body=body).body)["hook"] == CALLBACK
    assert json.loads(sent(callback_url=None, body=body).body) == {"to": NUMBER, "text": TEXT, "hooks": []}


def test_the_answer_is_read_where_the_settings_say() -> None:
    assert outcome(TAKEN) == Outcome(DeliveryState.SENT, Channel.SMS, None, "0.0075", "id-1")


@pytest.mark.parametrize(
    ("body", "state", "reason", "is_recognised"),
    [
        ({"m": [{"state": "done"}]}, DeliveryState.DELIVERED, None, True),
        ({"m": [{"state": "odd"}]}, DeliveryState.SENT, "odd", False),
        ({"m": []}, DeliveryState.SENT, None, True),
        ({"m": [{"state": {"a": 1}}]}, DeliveryState.SENT, None, True),
    ],
)
def test_states_mean_what_the_settings_say(
    body: Any, state: DeliveryState, reason: str | None, is_recognised: bool
) -> None:
    found = outcome((200, body))
    assert (found.state, found.reason, found.is_recognised) == (state, reason, is_recognised)


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        ((400, {"error": {"code": 21211}}), NumberRefusedError, "21211"),
        ((200, {"error": {"code": "21211"}}), NumberRefusedError, "21211"),
        ((500, {"error": {"code": "20003"}}), AccountError, "20003"),
        ((403, {"error": {"code": 21408}}), NotPermittedError, "21408"),
        ((200, {"error": {"code": "busy"}}), UnavailableError, "busy"),
        ((200, {"error": {"code": "odd"}}), GatewayError, "http 200: odd"),
        ((404, {}), GatewayError, "http 404"),
        ((401, {}), AccountError, "http 401"),
        ((402, {"error": {"code": "odd"}}), AccountError, "http 402"),
        ((429, {}), UnavailableError, "http 429"),
        ((503, {}), UnavailableError, "http 503"),
        ((200, "ok"), UnavailableError, "answer is no JSON"),
        ((200, {"m": [{"state": "lost"}]}), NotPermittedError, "lost"),
    ],
)
def test_errors_mean_what_the_settings_say(answer: Any, kind: type[GatewayError], reason: str) -> None:
    error = outcome(answer)
    assert type(error) is kind
    assert error.reason == reason


@pytest.mark.parametrize("none", [None, "", 0, "0", False])
def test_an_error_of_nothing_is_none(none: object) -> None:
    assert isinstance(outcome((200, {"error": {"code": none}})), Outcome)


def test_only_the_statuses_of_the_settings_are_good_where_they_name_any() -> None:
    assert outcome((200, {}), answer=AnswerRules(statuses=(202,))).reason == "http 200"
    assert isinstance(outcome((202, {}), answer=AnswerRules(statuses=(202,))), Outcome)


def test_the_code_is_taken_for_no_price_no_id_and_no_reason() -> None:
    """A provider that sends everything back (I4)."""
    echo = outcome((200, {"m": [{"id": CODE, "price": CODE, "state": f"sent {CODE}"}]}))
    assert CODE not in repr(echo)
    assert CODE not in outcome((400, {"error": {"code": f"bad text {CODE}"}})).reason


@pytest.mark.parametrize("channel", [Channel.SMS, Channel.VOICE])
def test_it_serves_its_own_channel_and_never_none(channel: Channel) -> None:
    gateway = client(Provider([]), channel=channel)
    assert [fallback for fallback in Fallback if gateway.serves(fallback)] == [Fallback(channel.value)]


def test_it_shows_no_secret() -> None:
    assert repr(client(Provider([]), basic_auth=("user", "password"))) == "HttpProvider(name='sms')"


# Reports

RULES = ReportRules(number="m.to", state="m.state", id="m.id", price="m.price")


def report(body: bytes, rules: ReportRules = RULES) -> Any:
    return HttpReports(Channel.SMS, rules, STATES)(body, {}, 0.0)


def test_a_report_in_json_is_read_where_the_settings_say() -> None:
    found = report(b'{"m": {"to": 79991234567, "state": "lost", "id": "id-1", "price": 2.5}}')
    assert found.number == NUMBER
    assert found.outcome == Outcome(DeliveryState.FAILED, Channel.SMS, "lost", "2.50", "id-1")


def test_a_report_in_a_form_is_read_where_the_settings_say() -> None:
    found = report(b"To=%2B79991234567&State=done", ReportRules(format="form", number="To", state="State"))
    assert (found.number, found.outcome.state) == (NUMBER, DeliveryState.DELIVERED)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"m": {"to": "me", "state": "done"}}', b'{"m": []}'])
def test_a_body_that_is_no_report_cannot_be_read(body: bytes) -> None:
    with pytest.raises(UnreadableReportError):
        report(body)


@pytest.mark.parametrize("body", [b"", b"\xff", b"To=%2B79991234567", b"&".join([b"a=1"] * 200)])
def test_a_form_that_is_no_report_cannot_be_read(body: bytes) -> None:
    with pytest.raises(UnreadableReportError):
        report(body, ReportRules(format="form", number="To", state="State"))
