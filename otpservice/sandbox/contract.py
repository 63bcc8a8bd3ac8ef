"""The gateway's contract for one request: its words, and the checks that a request passes, in their order.

Source: GATEWAY.md and the original behind it. Pure: no I/O, no state, no clock.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from yarl import URL

MAX_CALLBACK_URL_CHARACTERS = 2048
_CODE_LENGTHS = {"4": 4, "5": 5, "6": 6}
_DEFAULT_CODE_LENGTH = "4"
# E.164 allows 15 digits; the shortest numbers in use have 7 with their country code.
_NUMBER_DIGITS = range(7, 16)


class ErrorCode(StrEnum):
    """``error_code`` of a bad answer."""

    UNKNOWN_REQUEST = "unknown_request"
    AUTHORISATION_FAILED = "authorisation_failed"
    USER_DISABLED = "user_disabled"
    NUMBER_IS_EMPTY = "number_is_empty"
    NUMBER_NOT_VALID = "number_not_valid"
    NUMBER_NOT_PERMITTED = "number_not_permitted"
    NUMBER_IN_SPAM_LIST = "number_in_spam_list"
    NOT_ENOUGH_MONEY = "not_enough_money"
    CODE_LENGTH_NOT_PERMITTED = "code_length_not_permitted"
    CODE_NOT_CORRECT = "code_not_correct"
    CODE_LENGTH_ERROR = "code_length_error"


class Fallback(StrEnum):
    """``resending``: what to do where the number has no Telegram."""

    VOICE = "voice"
    SMS = "sms"
    STOP = "stop"


class Channel(StrEnum):
    """The way by which a message comes to a phone."""

    TELEGRAM = "telegram"
    SMS = "sms"
    VOICE = "voice"


class State(StrEnum):
    """``state`` of a good answer, as the original's table of states spells it."""

    DELIVERED = "delivered"
    VOICE = "voice"
    SMS = "sms"
    NOT_DELIVERED = "not_delivered"

    @property
    def in_callback(self) -> str:
        """The state as callbacks spell it: ``send_voice`` and ``send_sms``, after the original's example."""
        return f"send_{self.value}" if self in {State.VOICE, State.SMS} else self.value


class RequestRefused(Exception):  # noqa: N818  an answer of the gateway, not a defect
    """The request fails a check of the contract; ``code`` says which."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.value)
        self.code = code


@dataclass(frozen=True, slots=True)
class SendRequest:
    """A request that keeps the contract.

    ``code`` is None where the gateway is to make one, of ``code_length`` digits.
    """

    number: str = field(repr=False)
    fallback: Fallback
    code_length: int
    code: str | None = field(repr=False)
    callback_url: str | None = field(repr=False)


def read_send(body: bytes, content_type: str, authorization: str | None, api_key: str) -> SendRequest:
    """Check one request, strictly and in this order: JSON, key, types, number, code length, code.

    body: the raw body. content_type: the media type without parameters. authorization: the header's whole
    value, None where there is none. api_key: the one key that is let in.

    Where the header is there it alone decides; the key in the body is looked at only without it. A field that
    is there must have its type: null is a wrong type, not a missing field. Unknown fields are ignored. Only
    ``code_length`` may be a number instead of a string.

    Raises RequestRefused with the first check that fails.
    """
    fields = _read_object(body, content_type)
    if not _is_authorised(fields, authorization, api_key):
        raise RequestRefused(ErrorCode.AUTHORISATION_FAILED)
    number = _text(fields, "number")
    fallback = _fallback(fields)
    code_length = _code_length(fields)
    code = _text(fields, "code")
    callback_url = _callback_url(fields)

    if not number or not _is_digits(number):
        raise RequestRefused(ErrorCode.NUMBER_IS_EMPTY)
    if len(number) not in _NUMBER_DIGITS:
        raise RequestRefused(ErrorCode.NUMBER_NOT_VALID)
    if code_length not in _CODE_LENGTHS:
        raise RequestRefused(ErrorCode.CODE_LENGTH_NOT_PERMITTED)
    length = _CODE_LENGTHS[code_length]
    if code is not None and not _is_digits(code):
        raise RequestRefused(ErrorCode.CODE_NOT_CORRECT)
    if code is not None and len(code) != length:
        raise RequestRefused(ErrorCode.CODE_LENGTH_ERROR)
    return SendRequest(number, fallback, length, code, callback_url)


def mask_number(number: str) -> str:
    """A number as logs may show it: ``+7999*****67``; a short one shows less, to keep five digits hidden."""
    shown = max(0, min(4, len(number) - 7))
    return f"+{number[:shown]}{'*' * (len(number) - shown - 2)}{number[-2:]}"


def _read_object(body: bytes, content_type: str) -> Mapping[str, object]:
    if content_type.lower() != "application/json":
        raise RequestRefused(ErrorCode.UNKNOWN_REQUEST)
    try:
        fields = json.loads(body.decode("utf-8"))
    # A deep nest of brackets fits into a small body.
    except (ValueError, RecursionError):
        raise RequestRefused(ErrorCode.UNKNOWN_REQUEST) from None
    if not isinstance(fields, dict):
        raise RequestRefused(ErrorCode.UNKNOWN_REQUEST)
    return fields


def _is_authorised(fields: Mapping[str, object], authorization: str | None, api_key: str) -> bool:
    offered: object = authorization
    if not offered:
        security = fields.get("security")
        nested = security.get("apiKey") if isinstance(security, dict) else None
        offered = fields.get("apiKey", nested)
    if not isinstance(offered, str):
        return False
    # Lone surrogates come out of JSON escapes and of raw header bytes; they must compare, not fail.
    return hmac.compare_digest(offered.encode("utf-8", "surrogatepass"), api_key.encode("utf-8", "surrogatepass"))


def _text(fields: Mapping[str, object], name: str) -> str | None:
    if name not in fields:
        return None
    value = fields[name]
    if not isinstance(value, str):
        raise RequestRefused(ErrorCode.UNKNOWN_REQUEST)
    return value


def _fallback(fields: Mapping[str, object]) -> Fallback:
    text = _text(fields, "resending")
    if text is None:
        return Fallback.STOP
    try:
        return Fallback(text)
    except ValueError:
        raise RequestRefused(ErrorCode.UNKNOWN_REQUEST) from None


def _code_length(fields: Mapping[str, object]) -> str:
    value = fields.get("code_length", _DEFAULT_CODE_LENGTH)
    if isinstance(value, str):
        return value
    # bool is an int in Python, not in JSON.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise RequestRefused(ErrorCode.UNKNOWN_REQUEST)


def _callback_url(fields: Mapping[str, object]) -> str | None:
    text = _text(fields, "callback_url")
    if text is None:
        return None
    if len(text) > MAX_CALLBACK_URL_CHARACTERS or not text.isprintable() or " " in text:
        raise RequestRefused(ErrorCode.UNKNOWN_REQUEST)
    try:
        url = URL(text)
    except ValueError:
        raise RequestRefused(ErrorCode.UNKNOWN_REQUEST) from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise RequestRefused(ErrorCode.UNKNOWN_REQUEST)
    return text


def _is_digits(text: str) -> bool:
    # str.isdigit alone also takes the digits of other scripts.
    return text.isascii() and text.isdigit()
