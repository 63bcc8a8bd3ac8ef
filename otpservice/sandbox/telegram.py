"""``POST /telegram/<method>``: a stand-in for Telegram's own Gateway API (GATEWAY.md, last part).

Its reports are signed with the sandbox's key as Telegram signs with the account's token. Unlike Telegram it posts
them to http addresses too.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from aiohttp import web

from otpservice.sandbox.callbacks import Callbacks
from otpservice.sandbox.contract import Channel, ErrorCode
from otpservice.sandbox.endings import PRICES, behaviour_of
from otpservice.sandbox.faults import Faults
from otpservice.sandbox.gateway import Faulty, Gateway, Refused, make_code
from otpservice.sandbox.reporting import answer_and_report
from otpservice.sandbox.settings import SandboxSettings

_COST = PRICES[Channel.TELEGRAM]
_NUMBER = re.compile(r"\+?([0-9]{7,15})")
_REFUSALS: Mapping[ErrorCode, str] = {
    ErrorCode.NUMBER_NOT_VALID: "PHONE_NUMBER_INVALID",
    ErrorCode.NUMBER_IN_SPAM_LIST: "PHONE_NUMBER_INVALID",
    ErrorCode.NUMBER_NOT_PERMITTED: "PHONE_NUMBER_NOT_AVAILABLE",
    ErrorCode.NOT_ENOUGH_MONEY: "BALANCE_NOT_ENOUGH",
}


class _No(Exception):  # noqa: N818  an answer of the gateway, not a defect
    """The gateway answers ``ok: false``."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


@dataclass(slots=True)
class _Request:
    """What became of one request_id. ``code`` is None before it is sent."""

    id: str
    number: str = field(repr=False)
    code: str | None = field(default=None, repr=False)
    payload: str | None = None
    status: str | None = None
    is_refunded: bool = False


class Telegram:
    """Answers the four methods, for the same account and phones as the other gateways."""

    def __init__(
        self,
        settings: SandboxSettings,
        gateway: Gateway,
        callbacks: Callbacks,
        faults: Faults,
        now: Callable[[], datetime],
    ) -> None:
        self._token = settings.api_key
        self._signing_key = sha256(settings.api_key.encode()).digest()
        self._callback_delay = settings.callback_delay
        self._gateway = gateway
        self._callbacks = callbacks
        self._faults = faults
        self._now = now
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._most_requests = settings.max_messages

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Answer one method. Errors are 200 as good answers are: the JSON decides."""
        self._gateway.in_flight += 1
        try:
            body = self._read(await request.read(), request.headers.get("Authorization", ""))
            return await self._answer(request, request.match_info["method"], body)
        except _No as no:
            self._gateway.outcomes[f"telegram {no.error}"] += 1
            return web.json_response({"ok": False, "error": no.error})
        finally:
            self._gateway.in_flight -= 1

    async def _answer(self, request: web.Request, method: str, body: Mapping[str, Any]) -> web.StreamResponse:
        match method:
            case "checkSendAbility":
                return await self._check_ability(request, body)
            case "sendVerificationMessage":
                return await self._send(request, body)
            case "checkVerificationStatus":
                return _yes(self._check_status(body))
            case "revokeVerificationMessage":
                self._known(body)
                return _yes(True)
            case _:
                raise _No("UNKNOWN_METHOD")

    def _read(self, body: bytes, authorization: str) -> Mapping[str, Any]:
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode()):
            raise _No("ACCESS_TOKEN_INVALID")
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise _No("REQUEST_INVALID")
        return fields

    async def _check_ability(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        number = _number(body)
        match self._gateway.meet(number, None):
            case Refused(code):
                raise _No(_REFUSALS.get(code, "ACCESS_TOKEN_INVALID"))
            case Faulty(fault):
                self._gateway.outcomes[f"telegram {fault.value}"] += 1
                return await self._faults.commit(request, fault)
        return _yes(self._status(self._begin(number)))

    async def _send(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        number = _number(body)
        code = _code(body)
        _check_options(body)
        known = self._known(body) if "request_id" in body else self._begin(number)
        if known.number != number:
            raise _No("PHONE_NUMBER_MISMATCH")
        if known.code is not None:
            raise _No("MESSAGE_ALREADY_SENT")
        known.code, known.payload, known.status = code, body.get("payload"), "sent"
        behaviour = behaviour_of(number)
        if not behaviour.is_lost:
            self._gateway.show(number, Channel.TELEGRAM, code, known.id)
        self._gateway.outcomes["telegram sent"] += 1
        response = _yes(self._status(known))
        known.status = "delivered"
        if behaviour.is_lost:
            self._gateway.refund(_COST)
            known.status, known.is_refunded = "expired", True
        url = body.get("callback_url")

        def report(delay: float, times: int) -> asyncio.Task[None] | None:
            return self._report(str(url), known, delay, times) if url else None

        return await answer_and_report(request, response, behaviour, report, self._faults, self._callback_delay)

    def _check_status(self, body: Mapping[str, Any]) -> dict[str, Any]:
        known = self._known(body)
        found = self._status(known)
        if (entered := body.get("code")) is not None:
            status = "code_valid" if entered == known.code else "code_invalid"
            self._gateway.outcomes[f"telegram {status}"] += 1
            found["verification_status"] = {"status": status, "updated_at": self._seconds(), "code_entered": entered}
        return found

    def _begin(self, number: str) -> _Request:
        """A request that may be sent under; this is what costs money."""
        if not behaviour_of(number).has_telegram:
            raise _No("PHONE_NUMBER_NOT_AVAILABLE")
        if not self._gateway.charge(_COST):
            raise _No("BALANCE_NOT_ENOUGH")
        known = _Request(str(secrets.randbelow(10**15) + 10**15), number)
        self._requests[known.id] = known
        if len(self._requests) > self._most_requests:
            self._requests.popitem(last=False)
        return known

    def _known(self, body: Mapping[str, Any]) -> _Request:
        known = self._requests.get(str(body.get("request_id")))
        if known is None:
            raise _No("REQUEST_ID_INVALID")
        return known

    def _status(self, known: _Request) -> dict[str, Any]:
        """A RequestStatus."""
        found: dict[str, Any] = {
            "request_id": known.id,
            "phone_number": f"+{known.number}",
            "request_cost": float(_COST),
            "remaining_balance": float(self._gateway.balance),
        }
        if known.is_refunded:
            found["is_refunded"] = True
        if known.status is not None:
            found["delivery_status"] = {"status": known.status, "updated_at": self._seconds()}
        if known.payload is not None:
            found["payload"] = known.payload
        return found

    def _report(self, url: str, known: _Request, delay: float, times: int) -> asyncio.Task[None] | None:
        body = json.dumps(self._status(known)).encode()
        timestamp = str(self._seconds())
        headers = {
            "Content-Type": "application/json",
            "X-Request-Timestamp": timestamp,
            "X-Request-Signature": hmac.digest(self._signing_key, timestamp.encode() + b"\n" + body, "sha256").hex(),
        }
        return self._callbacks.schedule_raw(url, known.number, body, headers, delay=delay, times=times)

    def _seconds(self) -> int:
        return int(self._now().timestamp())


def _yes(result: object) -> web.Response:
    return web.json_response({"ok": True, "result": result})


def _number(body: Mapping[str, Any]) -> str:
    """The digits of ``phone_number``."""
    match = _NUMBER.fullmatch(str(body.get("phone_number", "")))
    if match is None:
        raise _No("PHONE_NUMBER_INVALID")
    return match[1]


def _code(body: Mapping[str, Any]) -> str:
    code = body.get("code")
    if code is None:
        length = body.get("code_length")
        if not isinstance(length, int) or not 4 <= length <= 8:
            raise _No("CODE_LENGTH_INVALID")
        return make_code(length)
    if not isinstance(code, str) or not re.fullmatch(r"[0-9]{4,8}", code):
        raise _No("CODE_INVALID")
    return code


def _check_options(body: Mapping[str, Any]) -> None:
    ttl, payload, url = body.get("ttl"), body.get("payload", ""), body.get("callback_url", "")
    if ttl is not None and (not isinstance(ttl, int) or not 30 <= ttl <= 3600):
        raise _No("TTL_INVALID")
    if not isinstance(payload, str) or len(payload.encode()) > 128:
        raise _No("PAYLOAD_INVALID")
    if not isinstance(url, str) or len(url.encode()) > 256 or (url and not re.match(r"https?://[^/]", url)):
        raise _No("CALLBACK_URL_INVALID")
