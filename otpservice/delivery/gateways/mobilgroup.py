"""Mobilgroup's "API for sending codes through Telegram" (GATEWAY.md, first part).

Where the original leaves something open: the key goes to the top of the body, ``code_length`` is a string,
``send_voice`` and ``send_sms`` mean ``voice`` and ``sms``, and the JSON decides before the HTTP status does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from otpservice.delivery.gateways.base import (
    AccountError,
    DefectError,
    GatewayError,
    Message,
    NotPermittedError,
    NumberRefusedError,
    UnavailableError,
    safe_price,
    safe_request_id,
    safe_text,
)
from otpservice.delivery.gateways.http import Answer, JsonClient
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback, Outcome
from otpservice.verification.reports import Report, UnreadableReportError

_NOT_DELIVERED = "not_delivered"
_STATES = {
    "delivered": (DeliveryState.DELIVERED, Channel.TELEGRAM),
    "voice": (DeliveryState.SENT, Channel.VOICE),
    "send_voice": (DeliveryState.SENT, Channel.VOICE),
    "sms": (DeliveryState.SENT, Channel.SMS),
    "send_sms": (DeliveryState.SENT, Channel.SMS),
    _NOT_DELIVERED: (DeliveryState.FAILED, None),
}
_RESENDING = {Fallback.VOICE: "voice", Fallback.SMS: "sms", Fallback.NONE: "stop"}
_ERRORS: Mapping[str, type[GatewayError]] = {
    "number_is_empty": NumberRefusedError,
    "number_not_valid": NumberRefusedError,
    "number_in_spam_list": NumberRefusedError,
    "number_not_permitted": NotPermittedError,
    "authorisation_failed": AccountError,
    "user_disabled": AccountError,
    "not_enough_money": AccountError,
    "unknown_request": DefectError,
    "code_length_not_permitted": DefectError,
    "code_not_correct": DefectError,
    "code_length_error": DefectError,
}


class Mobilgroup:
    """The gateway at ``url``. ``timeout`` is in seconds; ``auth`` says where the key goes."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        api_key: str,
        auth: Literal["header", "body"],
        timeout: float,
        max_in_flight: int,
    ) -> None:
        self.name = name
        self.max_in_flight = max_in_flight
        self._url = url
        self._headers = {"Charset": "utf-8"}
        self._credentials: dict[str, str] = {}
        if auth == "header":
            self._headers["Authorization"] = api_key
        else:
            self._credentials["apiKey"] = api_key
        self._client = JsonClient(timeout, max_in_flight)

    def __repr__(self) -> str:
        return f"Mobilgroup(name={self.name!r})"

    async def send(self, message: Message) -> Outcome:
        """Hand one code over. Raises a GatewayError where it was not taken."""
        body = self._credentials | {
            "number": message.number.removeprefix("+"),
            "resending": _RESENDING[message.fallback],
            "code_length": str(len(message.code)),
            "code": message.code,
        }
        if message.callback_url is not None:
            body["callback_url"] = message.callback_url
        return _read_answer(await self._client.post(self._url, self._headers, body), message.code)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def read_report(body: bytes, headers: Mapping[str, str] | None = None, now: float = 0.0) -> Report:
    """Read what was posted to a callback URL; its headers and time say nothing. Raises UnreadableReportError."""
    try:
        report = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableReportError("The body is not JSON.") from None
    if not isinstance(report, dict):
        raise UnreadableReportError("The body is not a JSON object.")
    number, state = report.get("number"), report.get("state")
    if not isinstance(number, str) or not (number.isascii() and number.isdigit() and len(number) <= 15):
        raise UnreadableReportError("number: not the digits of a phone number.")
    if not isinstance(state, str) or not state:
        raise UnreadableReportError("state: missing or no text.")
    # What a callback calls the code is its own choice, so nothing in it is taken for known.
    return Report(f"+{number}", _outcome(report, state, None))


def _read_answer(answer: Answer, code: str) -> Outcome:
    match answer.body.get("result"):
        case "ok":
            return _outcome(answer.body, answer.body.get("state"), code)
        case "error":
            text = answer.body.get("error_code")
            known = _ERRORS.get(text) if isinstance(text, str) else None
            raise (known or GatewayError)(safe_text(text) or "unknown error")
        case _:
            reason = f"http {answer.status}" if answer.status >= 300 else "answer without a result"
            raise UnavailableError(reason)


def _outcome(body: Mapping[str, Any], state: object, code: str | None) -> Outcome:
    """What an answer or a callback says; a state that nobody has heard of is a hand-over, its text the reason."""
    known = _STATES.get(state) if isinstance(state, str) else None
    reason = safe_text(body.get("state_reason"))
    if known is None:
        reason = safe_text(state) or "no state"
    elif known[0] is DeliveryState.FAILED:
        reason = reason or _NOT_DELIVERED
    delivery_state, channel = known or (DeliveryState.SENT, None)
    return Outcome(
        state=delivery_state,
        channel=channel,
        reason=reason,
        price=safe_price(body.get("price"), code),
        request_id=safe_request_id(body.get("request_id"), code),
        is_recognised=known is not None,
    )
