"""Telegram's own Gateway API (GATEWAY.md, last part): codes in Telegram and nowhere else.

A send is two requests: ``checkSendAbility`` says whether the number has Telegram, and ``sendVerificationMessage``
with its ``request_id`` is not billed again. What may fail in the second is therefore tried again here, under the
same id, and not by the route, which would begin with a new one.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import stamina

from otpservice.delivery.gateways.base import (
    MOST_CONFIRMED_AT_ONCE,
    AccountError,
    AnswerTimeoutError,
    GatewayError,
    Message,
    NotPermittedError,
    NumberRefusedError,
    UnavailableError,
    price_text,
    safe_price,
    safe_request_id,
    safe_text,
)
from otpservice.delivery.gateways.http import JsonClient
from otpservice.verification.lifecycle import Channel, DeliveryState, Outcome
from otpservice.verification.reports import Report, UnreadableReportError, UntrustedReportError

_NO_TELEGRAM = "the number has no Telegram"
_ALREADY_SENT = "MESSAGE_ALREADY_SENT"
_FLOOD_WAIT = re.compile(r"FLOOD_WAIT(?:_([0-9]{1,4}))?")
_REFUNDED_PRICE = "0.00"
_REPORT_SECONDS = 300
_SEND_TRIES = 2
_RETRY_WAIT_SECONDS = 0.2
_LONGEST_RETRY_AFTER_SECONDS = 2.0

_ERRORS: Mapping[str, type[GatewayError]] = {
    "ACCESS_TOKEN_INVALID": AccountError,
    "ACCESS_TOKEN_REQUIRED": AccountError,
    "BALANCE_NOT_ENOUGH": AccountError,
    "SENDER_NOT_OWNED": AccountError,
    "SENDER_NOT_VERIFIED": AccountError,
    "SENDER_USERNAME_INVALID": AccountError,
    "PHONE_NUMBER_INVALID": NumberRefusedError,
    "PHONE_NUMBER_NOT_AVAILABLE": NotPermittedError,
    "PHONE_NUMBER_NOT_FOUND": NotPermittedError,
}
_STATES = {
    "sent": DeliveryState.SENT,
    "delivered": DeliveryState.DELIVERED,
    "read": DeliveryState.DELIVERED,
    "expired": DeliveryState.FAILED,
    "revoked": DeliveryState.FAILED,
}


class _RefusedError(Exception):
    """Telegram said ``ok: false``; ``error`` is why."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class TelegramGateway:
    """The gateway at ``url`` (without the method). ``timeout`` and ``ttl`` are in seconds.

    A message that is not delivered within ``ttl`` is refunded and reported as expired. ``timeout`` is for a whole
    send, both requests together. ``sender_username`` is a verified channel of the account, None for Telegram's own.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str,
        token: str,
        ttl: int,
        sender_username: str | None,
        timeout: float,
        max_in_flight: int,
    ) -> None:
        self.name = name
        self.max_in_flight = max_in_flight
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._sending: dict[str, object] = {"ttl": ttl}
        if sender_username is not None:
            self._sending["sender_username"] = sender_username
        self._timeout = timeout
        self._client = JsonClient(timeout, max_in_flight + MOST_CONFIRMED_AT_ONCE)

    def __repr__(self) -> str:
        return f"TelegramGateway(name={self.name!r})"

    async def send(self, message: Message) -> Outcome:
        """Hand one code over. Raises a GatewayError where it was not taken."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._check_and_send(message)
        except TimeoutError:
            raise AnswerTimeoutError("timeout") from None

    async def confirm(self, request_id: str, code: str) -> None:
        """Tell Telegram what was typed (checkVerificationStatus), for its statistics."""
        try:
            await self._call("checkVerificationStatus", {"request_id": request_id, "code": code})
        except _RefusedError as refused:
            raise _error(refused.error, GatewayError) from None

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def _check_and_send(self, message: Message) -> Outcome:
        ability = await self._check_ability(message)
        request_id = ability.get("request_id")
        if not isinstance(request_id, str) or not request_id:
            raise GatewayError("answer without a request_id")
        body = {**self._sending, "phone_number": message.number, "request_id": request_id, "code": message.code}
        if message.callback_url is not None:
            body["callback_url"] = message.callback_url
        try:
            status = await self._send(body)
        except _RefusedError as refused:
            if refused.error != _ALREADY_SENT:
                raise _error(refused.error, GatewayError) from None
            status = ability  # a try before this one got through, and only its answer was lost
        return _outcome({**ability, **status}, message.code)

    async def _check_ability(self, message: Message) -> Mapping[str, Any]:
        try:
            return await self._call("checkSendAbility", {"phone_number": message.number})
        except _RefusedError as refused:
            # What it says of a number without Telegram is documented nowhere, so whatever is unknown may be that.
            raise _error(refused.error, NotPermittedError) from None

    async def _send(self, body: Mapping[str, object]) -> Mapping[str, Any]:
        try:
            async for attempt in stamina.retry_context(
                on=_worth_a_retry, attempts=_SEND_TRIES, timeout=None, wait_initial=_RETRY_WAIT_SECONDS
            ):
                with attempt:
                    return await self._call("sendVerificationMessage", body)
        except UnavailableError as error:
            raise GatewayError(error.reason) from None  # the next gateway: beginning anew would be billed anew
        raise AssertionError("a retry loop ends in an answer or an error")

    async def _call(self, method: str, body: Mapping[str, object]) -> Mapping[str, Any]:
        """The result of one method. Raises _RefusedError where Telegram says no, and UnavailableError."""
        answer = await self._client.post(f"{self._url}/{method}", self._headers, body)
        result, error = answer.body.get("result"), answer.body.get("error")
        if answer.body.get("ok") is True and isinstance(result, dict):
            return result
        if isinstance(error, str) and (flood := _FLOOD_WAIT.fullmatch(error)):
            seconds = float(flood[1]) if flood[1] else answer.retry_after
            raise UnavailableError("FLOOD_WAIT", seconds)
        if answer.status == 429 or answer.status >= 500:
            raise UnavailableError(f"http {answer.status}", answer.retry_after)
        if isinstance(error, str) and error:
            raise _RefusedError(error)
        raise UnavailableError(f"http {answer.status}" if answer.status >= 300 else "answer without a result")


class TelegramReports:
    """Reads Telegram's reports, which are signed with the account's token."""

    def __init__(self, token: str) -> None:
        self._key = sha256(token.encode()).digest()

    def __call__(self, body: bytes, headers: Mapping[str, str], now: float) -> Report:
        """Raises UntrustedReportError or UnreadableReportError; see ReportReader."""
        timestamp, signature = headers.get("x-request-timestamp", ""), headers.get("x-request-signature", "")
        expected = hmac.digest(self._key, timestamp.encode() + b"\n" + body, "sha256").hex()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise UntrustedReportError("signature")
        if not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > _REPORT_SECONDS:
            raise UntrustedReportError("timestamp")
        return _report(body)


def _report(body: bytes) -> Report:
    try:
        report = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableReportError("The body is not JSON.") from None
    if not isinstance(report, dict):
        raise UnreadableReportError("The body is not a JSON object.")
    number = report.get("phone_number")
    if not isinstance(number, str) or not re.fullmatch(r"\+?[0-9]{1,15}", number):
        raise UnreadableReportError("phone_number: not a phone number.")
    if _status(report) is None:
        raise UnreadableReportError("delivery_status: missing or without a status.")
    return Report(f"+{number.removeprefix('+')}", _outcome(report, None))


def _status(result: Mapping[str, Any]) -> str | None:
    delivery = result.get("delivery_status")
    status = delivery.get("status") if isinstance(delivery, dict) else None
    return status if isinstance(status, str) and status else None


def _outcome(result: Mapping[str, Any], code: str | None) -> Outcome:
    """What a RequestStatus says. A refund makes the price nothing, and says so in the reason of a failure."""
    status, is_refunded = _status(result), result.get("is_refunded") is True
    state = _STATES.get(status) if status is not None else DeliveryState.SENT
    reason = None
    if state is DeliveryState.FAILED:
        reason = f"{status}, refunded" if is_refunded else status
    elif state is None:
        reason = safe_text(status) or "no state"
    return Outcome(
        state=state or DeliveryState.SENT,
        channel=Channel.TELEGRAM,
        reason=reason,
        price=_REFUNDED_PRICE if is_refunded else safe_price(_cost(result), code),
        request_id=safe_request_id(result.get("request_id"), code),
        is_recognised=state is not None,
    )


def _cost(result: Mapping[str, Any]) -> str | None:
    """The fee, which is a JSON number."""
    cost = result.get("request_cost")
    return price_text(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) else None


def _worth_a_retry(error: Exception) -> bool | float:
    """Whether to try again: True with backoff, a number after that many seconds. Long pauses are for others."""
    if not isinstance(error, UnavailableError):
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= _LONGEST_RETRY_AFTER_SECONDS else False


def _error(error: str, otherwise: type[GatewayError]) -> GatewayError:
    kind = _ERRORS.get(error, otherwise)
    if kind is NotPermittedError and error in _ERRORS:
        return NotPermittedError(_NO_TELEGRAM)
    return kind(safe_text(error) or "unknown error")
