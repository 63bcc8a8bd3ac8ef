"""What a settings file may say of the newer kinds of gateway, and what it is told where it is wrong."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from otpservice.config import (
    HttpGatewaySettings,
    Secret,
    Settings,
    SettingsError,
    TelegramGatewaySettings,
    describe,
    parse,
)
from otpservice.delivery.gateways.http_rules import Template

ANYWHERE = "callback_url, code, digits, fallback, number, text"
NOT_TEXT = "callback_url, code, digits, fallback, number"
PLAIN = "code, digits, fallback, number"
NO_HOST = "must begin with https:// or http:// and a host without placeholders"
NO_HALF = "has a brace without its other half; write {{ or }} for a brace itself"
NAME_ONLY = "a placeholder is a name in braces, like {code}, and nothing else"
HTTP: dict[str, Any] = {
    "kind": "http",
    "channel": "sms",
    "url": "https://sms.example.com/v1/messages",
    "body": {"to": "{number}", "text": "{text}"},
}
REPORT = {"number": "to", "state": "state"}


def document(http: dict[str, Any], **tables: Any) -> dict[str, Any]:
    return {
        "secret_keys": ["k" * 32],
        "delivery": {"route": ["sms"]},
        "gateways": {"sms": http},
        "tenants": {"signup": {"api_keys": ["sha256:" + "0a" * 32]}},
        **tables,
    }


def changed(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**deepcopy(HTTP), **changes}.items() if value is not None}


def load(http: dict[str, Any], environ: dict[str, str] | None = None, **tables: Any) -> Settings:
    return parse(document(http, **tables), environ or {}, Path())


def errors(**changes: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(changed(**changes))
    return [error.removeprefix("gateways.sms.") for error in caught.value.errors]


def test_the_smallest_one_takes_the_defaults() -> None:
    gateway = load(HTTP).gateways["sms"]
    assert isinstance(gateway, HttpGatewaySettings)
    assert (gateway.method, gateway.format, gateway.timeout) == ("POST", "json", 10)
    assert gateway.text == Template("Your code: {code}")
    assert gateway.report is None


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"url": None}, "url: is required"),
        ({"channel": None}, "channel: is required"),
        ({"channel": "telegram"}, "channel: must be one of: sms, voice"),
        ({"url": "ftp://x/"}, "url: must begin with https:// or http://"),
        ({"url": "https://{number}.example.com/"}, "url: " + NO_HOST),
        ({"url": "https://x/?to={number}"}, "url: must end before any ? or #"),
        ({"url": "https://x/{callback_url}"}, "url: there is no {callback_url} here; there are: " + PLAIN),
        ({"headers": {"X-A": "{nmber}"}}, "headers.X-A: there is no {nmber} here; there are: " + NOT_TEXT),
        ({"headers": {"X A": "1"}}, 'headers."X A": is no name of a header'),
        ({"headers": {"X-A": "a\nb"}}, "headers.X-A: must be printable ASCII on one line"),
        ({"headers": {"X-A": 7}}, "headers.X-A: must be text, in quotes"),
        ({"body": {"to": "{number}", "text": "{code"}}, "body.text: " + NO_HALF),
        ({"body": {"to": "{number}", "text": "{code!r}"}}, "body.text: " + NAME_ONLY),
        ({"body": {"to": "{number}", "text": "{}"}}, "body.text: " + NAME_ONLY),
        (
            {"body": {"a": [{"to": "{nmber}"}], "text": "{text}"}},
            "body.a[0].to: there is no {nmber} here; there are: " + ANYWHERE,
        ),
        ({"body": "{code}"}, "body: must be a table"),
        ({"body": {"to": "{number}"}}, "body: nothing in the request holds {code} or {text}"),
        ({"body": {"text": "{text}"}}, "body: nothing in the request holds {number} or {digits}"),
        ({"text": "hello"}, "text: does not hold {code}"),
        ({"text": "{text}"}, "text: there is no {text} here; there are: " + PLAIN),
        ({"method": "GET"}, "body: a GET has none; put it into query"),
        (
            {"format": "form", "body": {"to": "{number}", "text": {"a": "{text}"}}},
            "body: a form holds nothing but texts, in quotes",
        ),
        ({"basic_auth": ["user"]}, "basic_auth: must be two texts: the user and the password"),
        ({"values": {"number": "1"}}, "values.number: is a placeholder already"),
        ({"values": {"A": "1"}}, "values.A: a name must be 1 to 32 of a-z, 0-9 and _"),
        ({"values": {"a": "\n"}}, "values.a: must be text of printable ASCII, and not empty"),
        ({"report": REPORT}, "report: {callback_url} and the table report are of use together only"),
        ({"report": {"number": "to"}}, "report.state: is required"),
        ({"answer": {"id": "a..b"}}, "answer.id: must be names or indices with dots between them"),
        ({"answer": {"sid": "a"}}, "answer.sid: unknown key; did you mean id?"),
        ({"errors": {"account": "x"}}, "errors.account: must be a list"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(changes: dict[str, Any], error: str) -> None:
    assert error in errors(**changes)


def test_reports_are_asked_for_and_read_or_neither() -> None:
    body = {**HTTP["body"], "hook": "{callback_url}"}
    assert errors(body=body) == ["report: {callback_url} and the table report are of use together only"]
    gateway = load(changed(body=body, report=REPORT)).gateways["sms"]
    assert isinstance(gateway, HttpGatewaySettings)
    assert gateway.report is not None


def test_what_comes_from_elsewhere_is_no_template_and_is_shown_nowhere() -> None:
    environ = {"KEY": "hush{code}"}
    http = changed(
        body={**HTTP["body"], "key": "env:KEY"},
        query={"key": "env:KEY"},
        headers={"X-Key": "env:KEY", "X-Own": "hush {own}"},
        values={"own": "env:KEY"},
        basic_auth=["user", "env:KEY"],
    )
    settings = load(http, environ)
    gateway = settings.gateways["sms"]
    assert isinstance(gateway, HttpGatewaySettings)
    assert gateway.query["key"].fill({}) == "hush{code}"
    assert "hush" not in describe(settings)
    assert "hush" not in repr(settings)


def test_an_error_does_not_repeat_what_it_is_about() -> None:
    with pytest.raises(SettingsError) as caught:
        load(changed(values={"own": "env:KEY"}, headers={"X-A": "hush {nope}"}), {"KEY": "hush\n"})
    assert "hush" not in str(caught.value)


def test_telegram_s_gateway_needs_its_token_and_no_more() -> None:
    settings = load({"kind": "telegram_gateway", "token": "hush"})
    gateway = settings.gateways["sms"]
    assert isinstance(gateway, TelegramGatewaySettings)
    assert gateway.token == Secret("hush")
    assert (gateway.url, gateway.ttl) == ("https://gatewayapi.telegram.org", 300)
    assert "hush" not in describe(settings)
    with pytest.raises(SettingsError) as caught:
        load({"kind": "telegram_gateway", "ttl": 29})
    assert caught.value.errors == (
        "gateways.sms.token: is required",
        "gateways.sms.ttl: must be a whole number from 30 to 3600 (seconds)",
    )


def test_the_last_gateway_must_have_its_turn_where_the_others_hang() -> None:
    gateways = {"sms": HTTP, "telegram": {"kind": "telegram_gateway", "token": "x", "timeout": 12}}
    for deadline, is_right in ((12, False), (13, True)):
        made = document(HTTP) | {
            "gateways": gateways,
            "delivery": {"route": ["telegram", "sms"], "deadline": deadline},
        }
        if is_right:
            parse(made, {}, Path())
            continue
        with pytest.raises(SettingsError) as caught:
            parse(made, {}, Path())
        assert caught.value.errors == (
            "delivery.deadline: is over before sms has its turn where telegram hang: their timeouts make 12 s",
        )
