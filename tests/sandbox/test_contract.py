"""The checks of one request: all error codes, their order, and all ways of authorisation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpservice.sandbox.contract import (
    ErrorCode,
    Fallback,
    RequestRefused,
    SendRequest,
    mask_number,
    read_send,
)

KEY = "the-key"
NUMBER = "79990001122"


def read(fields: object, *, header: str | None = KEY, content_type: str = "application/json") -> SendRequest:
    return read_send(json.dumps(fields).encode(), content_type, header, KEY)


def refusal_of(body: bytes, *, header: str | None = KEY, content_type: str = "application/json") -> ErrorCode:
    with pytest.raises(RequestRefused) as refused:
        read_send(body, content_type, header, KEY)
    return refused.value.code


def refusal(fields: object, *, header: str | None = KEY) -> ErrorCode:
    return refusal_of(json.dumps(fields).encode(), header=header)


def test_a_request_may_hold_nothing_but_a_number() -> None:
    assert read({"number": NUMBER}) == SendRequest(NUMBER, Fallback.STOP, 4, None, None)


def test_a_full_request_is_read() -> None:
    fields = {
        "number": NUMBER,
        "resending": "voice",
        "code_length": "6",
        "code": "012345",
        "callback_url": "https://otp.example.com/v1/callbacks/mobilgroup/token",
        "unknown": [1],
    }
    assert read(fields) == SendRequest(NUMBER, Fallback.VOICE, 6, "012345", fields["callback_url"])  # type: ignore[arg-type]


@pytest.mark.parametrize("code_length", ["4", "5", "6", 4, 5, 6])
def test_a_code_length_may_be_text_or_a_number(code_length: str | int) -> None:
    assert read({"number": NUMBER, "code_length": code_length}).code_length == int(code_length)


@pytest.mark.parametrize(
    "fields",
    [{"apiKey": KEY}, {"security": {"apiKey": KEY}}, {"apiKey": KEY, "security": {"apiKey": "another"}}],
)
@pytest.mark.parametrize("header", [None, ""])
def test_the_key_may_be_in_the_body(fields: dict[str, Any], header: str | None) -> None:
    assert read({"number": NUMBER, **fields}, header=header).number == NUMBER


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        (None, {}),
        ("", {}),
        ("another", {}),
        (f"Bearer {KEY}", {}),
        (KEY + "x", {}),
        (KEY[:-1], {}),
        ("ключ", {}),
        ("\udcff", {}),
        ("another", {"apiKey": KEY}),
        (None, {"apiKey": "another"}),
        (None, {"apiKey": ""}),
        (None, {"apiKey": None}),
        (None, {"apiKey": 1}),
        (None, {"apiKey": [KEY]}),
        (None, {"apiKey": "\ud800"}),
        (None, {"apiKey": "another", "security": {"apiKey": KEY}}),
        (None, {"security": KEY}),
        (None, {"security": {}}),
        (None, {"security": {"apiKey": "another"}}),
    ],
)
def test_a_wrong_or_missing_key_is_refused(header: str | None, fields: dict[str, Any]) -> None:
    assert refusal({"number": NUMBER, **fields}, header=header) is ErrorCode.AUTHORISATION_FAILED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"number=79990001122",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"number": "' + b"\xff" + b'"}',
        b"[" * 16_000,
        b"1" * 10_000,
    ],
)
def test_what_is_no_json_object_is_an_unknown_request_whatever_the_key(body: bytes) -> None:
    assert refusal_of(body) is ErrorCode.UNKNOWN_REQUEST
    assert refusal_of(body, header=None) is ErrorCode.UNKNOWN_REQUEST


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_another_media_type_is_an_unknown_request(content_type: str) -> None:
    body = json.dumps({"number": NUMBER}).encode()
    assert refusal_of(body, content_type=content_type) is ErrorCode.UNKNOWN_REQUEST


@pytest.mark.parametrize(
    "fields",
    [
        {"number": 79990001122},
        {"number": None},
        {"number": [NUMBER]},
        {"resending": "call"},
        {"resending": ""},
        {"resending": "SMS"},
        {"resending": None},
        {"resending": 1},
        {"code_length": None},
        {"code_length": 6.0},
        {"code_length": True},
        {"code_length": ["6"]},
        {"code": 1234},
        {"code": None},
        {"callback_url": ""},
        {"callback_url": None},
        {"callback_url": 1},
        {"callback_url": "otp.example.com"},
        {"callback_url": "ftp://otp.example.com/"},
        {"callback_url": "file:///etc/passwd"},
        {"callback_url": "http:///path"},
        {"callback_url": "http://otp.example.com:99999/"},
        {"callback_url": "http://[::1"},
        {"callback_url": "http://otp.example.com/a b"},
        {"callback_url": "http://otp.example.com/\r\nHost: other"},
        {"callback_url": "http://\ud800.example.com/"},
        {"callback_url": "http://otp.example.com/" + "a" * 2048},
    ],
)
def test_wrong_types_and_unknown_values_are_an_unknown_request(fields: dict[str, Any]) -> None:
    assert refusal({"number": NUMBER, **fields}) is ErrorCode.UNKNOWN_REQUEST


@pytest.mark.parametrize(
    ("fields", "error_code"),
    [
        ({}, ErrorCode.NUMBER_IS_EMPTY),
        ({"number": ""}, ErrorCode.NUMBER_IS_EMPTY),
        ({"number": "+79990001122"}, ErrorCode.NUMBER_IS_EMPTY),
        ({"number": "7 999 000 11 22"}, ErrorCode.NUMBER_IS_EMPTY),
        ({"number": "number"}, ErrorCode.NUMBER_IS_EMPTY),
        ({"number": "٧٩٩٩٠٠٠١١٢٢"}, ErrorCode.NUMBER_IS_EMPTY),
        ({"number": "799900"}, ErrorCode.NUMBER_NOT_VALID),
        ({"number": "7999000112233445"}, ErrorCode.NUMBER_NOT_VALID),
        ({"number": NUMBER, "code_length": "3"}, ErrorCode.CODE_LENGTH_NOT_PERMITTED),
        ({"number": NUMBER, "code_length": 7}, ErrorCode.CODE_LENGTH_NOT_PERMITTED),
        ({"number": NUMBER, "code_length": "06"}, ErrorCode.CODE_LENGTH_NOT_PERMITTED),
        ({"number": NUMBER, "code_length": "six"}, ErrorCode.CODE_LENGTH_NOT_PERMITTED),
        ({"number": NUMBER, "code_length": ""}, ErrorCode.CODE_LENGTH_NOT_PERMITTED),
        ({"number": NUMBER, "code": ""}, ErrorCode.CODE_NOT_CORRECT),
        ({"number": NUMBER, "code": "12a4"}, ErrorCode.CODE_NOT_CORRECT),
        ({"number": NUMBER, "code": "-123"}, ErrorCode.CODE_NOT_CORRECT),
        ({"number": NUMBER, "code": "١٢٣٤"}, ErrorCode.CODE_NOT_CORRECT),
        ({"number": NUMBER, "code": "123456"}, ErrorCode.CODE_LENGTH_ERROR),
        ({"number": NUMBER, "code": "1234", "code_length": "6"}, ErrorCode.CODE_LENGTH_ERROR),
    ],
)
def test_each_check_has_its_error_code(fields: dict[str, Any], error_code: ErrorCode) -> None:
    assert refusal(fields) is error_code


@pytest.mark.parametrize("number", ["7999000", "799900011223344"])
def test_the_shortest_and_the_longest_number_are_let_in(number: str) -> None:
    assert read({"number": number}).number == number


def test_the_checks_come_in_their_order() -> None:
    wrong: dict[str, Any] = {"resending": "call", "number": "", "code_length": "9", "code": "x"}
    assert refusal_of(b"[]", header="another") is ErrorCode.UNKNOWN_REQUEST
    assert refusal(wrong, header="another") is ErrorCode.AUTHORISATION_FAILED
    assert refusal(wrong) is ErrorCode.UNKNOWN_REQUEST
    assert refusal(wrong | {"resending": "sms"}) is ErrorCode.NUMBER_IS_EMPTY
    assert refusal(wrong | {"resending": "sms", "number": "1"}) is ErrorCode.NUMBER_NOT_VALID
    right_number = wrong | {"resending": "sms", "number": NUMBER}
    assert refusal(right_number) is ErrorCode.CODE_LENGTH_NOT_PERMITTED
    assert refusal(right_number | {"code_length": "4"}) is ErrorCode.CODE_NOT_CORRECT
    assert refusal(right_number | {"code_length": "4", "code": "1"}) is ErrorCode.CODE_LENGTH_ERROR


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["apiKey", "security", "number", "resending", "code_length", "code", "callback_url", "other"])


@given(body=st.binary() | st.dictionaries(FIELDS, JSON).map(lambda fields: json.dumps(fields).encode()))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    for header in (KEY, None):
        try:
            request = read_send(body, "application/json", header, KEY)
        except RequestRefused:
            continue
        assert header == KEY
        assert request.number.isdigit()


def test_a_request_hides_number_code_and_callback_from_its_repr() -> None:
    request = read({"number": NUMBER, "code": "1234", "callback_url": "http://localhost/token"})
    assert repr(request) == "SendRequest(fallback=<Fallback.STOP: 'stop'>, code_length=4)"


@pytest.mark.parametrize(
    ("number", "masked"),
    [("79991234567", "+7999*****67"), ("7999123", "+*****23"), ("799912345678901", "+7999*********01")],
)
def test_a_masked_number_hides_five_digits_or_more(number: str, masked: str) -> None:
    assert mask_number(number) == masked
