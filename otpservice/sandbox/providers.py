"""Stand-ins for SMS and voice providers, each with the checks that its documentation names.

- ``/http/twilio/...``: Twilio's Messages resource (twilio.com/docs/messaging/api/message-resource).
- ``/http/smsc/sys/send.php``: SMSC's HTTP protocol (smsc.ru/api/http), ``fmt=3`` only.
- ``/http/inhouse/v1/messages``: a gateway such as one writes oneself.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from otpservice.sandbox.callbacks import Callbacks
from otpservice.sandbox.contract import Channel, ErrorCode
from otpservice.sandbox.endings import PRICES, behaviour_of
from otpservice.sandbox.faults import Faults
from otpservice.sandbox.gateway import Faulty, Gateway, Refused
from otpservice.sandbox.reporting import Report, answer_and_report
from otpservice.sandbox.settings import SandboxSettings

_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_CODE = re.compile(r"(?<![0-9])[0-9]{4,8}(?![0-9])")
_HTTP_URL = re.compile(r"https?://[^/\s]+(/\S*)?")

# HTTP status and code of an error.
_TWILIO: Mapping[ErrorCode, tuple[int, int]] = {
    ErrorCode.NUMBER_NOT_VALID: (400, 21211),
    ErrorCode.NUMBER_NOT_PERMITTED: (400, 21408),
    ErrorCode.NUMBER_IN_SPAM_LIST: (400, 21610),
    ErrorCode.NOT_ENOUGH_MONEY: (401, 20005),
    ErrorCode.USER_DISABLED: (401, 20005),
    ErrorCode.AUTHORISATION_FAILED: (401, 20003),
}
_SMSC: Mapping[ErrorCode, int] = {
    ErrorCode.NUMBER_NOT_VALID: 7,
    ErrorCode.NUMBER_NOT_PERMITTED: 8,
    ErrorCode.NUMBER_IN_SPAM_LIST: 6,
    ErrorCode.NOT_ENOUGH_MONEY: 3,
    ErrorCode.USER_DISABLED: 4,
    ErrorCode.AUTHORISATION_FAILED: 2,
}
_INHOUSE: Mapping[ErrorCode, tuple[int, str]] = {
    ErrorCode.NUMBER_NOT_VALID: (422, "number_invalid"),
    ErrorCode.NUMBER_NOT_PERMITTED: (422, "number_unreachable"),
    ErrorCode.NUMBER_IN_SPAM_LIST: (422, "number_blocked"),
    ErrorCode.NOT_ENOUGH_MONEY: (402, "no_money"),
    ErrorCode.USER_DISABLED: (403, "account_disabled"),
    ErrorCode.AUTHORISATION_FAILED: (401, "unauthorized"),
}

_Refuse = Callable[[ErrorCode], web.Response]


class Providers:
    """Answers sends, for the same account and phones as the other gateways. All ask for the sandbox's key."""

    def __init__(self, settings: SandboxSettings, gateway: Gateway, callbacks: Callbacks, faults: Faults) -> None:
        self._key = settings.api_key
        self._callback_delay = settings.callback_delay
        self._gateway = gateway
        self._callbacks = callbacks
        self._faults = faults

    async def twilio(self, request: web.Request) -> web.StreamResponse:
        """The password is the sandbox's key; the user is the account of the path."""
        account, form = request.match_info["account"], await _form(request)
        expected = b64encode(f"{account}:{self._key}".encode()).decode()
        if not _same(request.headers.get("Authorization"), f"Basic {expected}"):
            return self._twilio_error(401, 20003)
        text, number = form.get("Body", ""), form.get("To", "")
        if not _E164.fullmatch(number):
            return self._twilio_error(400, 21211)
        if not form.get("From") and not form.get("MessagingServiceSid"):
            return self._twilio_error(400, 21603)
        if not text or len(text) > 1600:
            return self._twilio_error(400, 21617 if text else 21602)
        url = form.get("StatusCallback")
        if url is not None and not _HTTP_URL.fullmatch(url):
            return self._twilio_error(400, 21609)
        sid = f"SM{secrets.token_hex(16)}"
        answer = {"sid": sid, "account_sid": account, "to": number, "from": form.get("From"), "body": text}
        answer |= {"status": "queued", "price": None, "price_unit": "USD", "error_code": None, "num_segments": "1"}
        state = "undelivered" if _is_lost(number) else "delivered"
        report = {"MessageSid": sid, "SmsSid": sid, "MessageStatus": state, "To": number, "AccountSid": account}

        def refuse(code: ErrorCode) -> web.Response:
            return self._twilio_error(*_TWILIO[code])

        good = web.json_response(answer, status=201)
        return await self._take(
            request, number, Channel.SMS, text, sid, good, refuse, self._reporter(url, number, urlencode(report), _FORM)
        )

    async def smsc(self, request: web.Request) -> web.StreamResponse:
        """``login`` is any, ``psw`` the sandbox's key. It has no callbacks of a single request."""
        form = {**dict(request.query), **await _form(request)}
        if not form.get("login") or not _same(form.get("psw"), self._key):
            return self._smsc_error(2)
        number, text = form.get("phones", "").removeprefix("+"), form.get("mes", "")
        if form.get("fmt") != "3" or not text or form.get("charset", "windows-1251") not in {"utf-8", "windows-1251"}:
            return self._smsc_error(1)
        if not re.fullmatch(r"[0-9]{7,15}", number):
            return self._smsc_error(7)
        channel = Channel.VOICE if form.get("call") == "1" else Channel.SMS
        id_ = secrets.randbelow(10**9)
        answer: dict[str, Any] = {"id": id_, "cnt": 1}
        if form.get("cost") == "3":
            answer |= {"cost": f"{PRICES[channel]:.2f}", "balance": self._gateway.balance}

        def refuse(code: ErrorCode) -> web.Response:
            return self._smsc_error(_SMSC[code])

        return await self._take(
            request, f"+{number}", channel, text, str(id_), web.json_response(answer), refuse, lambda *_: None
        )

    async def inhouse(self, request: web.Request) -> web.StreamResponse:
        """``Authorization: Bearer <key>``, JSON in and out."""
        if not _same(request.headers.get("Authorization"), f"Bearer {self._key}"):
            return self._inhouse_error(401, "unauthorized")
        try:
            body = json.loads(await request.read()) if request.content_type == _JSON else None
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict) or set(body) - {"to", "via", "text", "callback_url"}:
            return self._inhouse_error(400, "malformed")
        number, text, url = body.get("to"), body.get("text"), body.get("callback_url")
        if not isinstance(text, str) or not text or body.get("via") not in {"sms", "voice"}:
            return self._inhouse_error(400, "malformed")
        if not isinstance(number, str) or not _E164.fullmatch(number):
            return self._inhouse_error(422, "number_invalid")
        if url is not None and (not isinstance(url, str) or not _HTTP_URL.fullmatch(url)):
            return self._inhouse_error(400, "malformed")
        channel = Channel(body["via"])
        id_ = secrets.token_hex(8)
        answer = {"message": {"id": id_, "to": number, "status": "accepted", "cost": float(PRICES[channel])}}
        state = "undelivered" if _is_lost(number) else "delivered"
        report = json.dumps({"message": {"id": id_, "to": number, "status": state}})

        def refuse(code: ErrorCode) -> web.Response:
            return self._inhouse_error(*_INHOUSE[code])

        return await self._take(
            request,
            number,
            channel,
            text,
            id_,
            web.json_response(answer, status=202),
            refuse,
            self._reporter(url, number, report, _JSON),
        )

    async def _take(
        self,
        request: web.Request,
        number: str,
        channel: Channel,
        text: str,
        request_id: str,
        good: web.Response,
        refuse: _Refuse,
        report: Report,
    ) -> web.StreamResponse:
        """What every provider does with a request that keeps its contract."""
        digits = number.removeprefix("+")
        found = _CODE.search(text)
        code = found[0] if found else ""
        self._gateway.in_flight += 1
        try:
            match self._gateway.meet(digits, code):
                case Refused(why):
                    return refuse(why)
                case Faulty(fault):
                    self._gateway.outcomes[f"provider {fault.value}"] += 1
                    return await self._faults.commit(request, fault)
            if not self._gateway.charge(PRICES[channel]):
                return refuse(ErrorCode.NOT_ENOUGH_MONEY)
            if not _is_lost(number):
                self._gateway.show(digits, channel, code, request_id, text)
            self._gateway.outcomes[f"provider {channel.value}"] += 1
            return await answer_and_report(
                request, good, behaviour_of(digits), report, self._faults, self._callback_delay
            )
        finally:
            self._gateway.in_flight -= 1

    def _reporter(self, url: str | None, number: str, body: str, content_type: str) -> Report:
        def report(delay: float, times: int) -> asyncio.Task[None] | None:
            if url is None:
                return None
            headers = {"Content-Type": content_type}
            return self._callbacks.schedule_raw(url, number, body.encode(), headers, delay=delay, times=times)

        return report

    def _twilio_error(self, status: int, code: int) -> web.Response:
        self._gateway.outcomes[f"twilio {code}"] += 1
        more = f"https://www.twilio.com/docs/errors/{code}"
        return web.json_response(
            {"code": code, "message": "refused", "more_info": more, "status": status}, status=status
        )

    def _smsc_error(self, code: int) -> web.Response:
        self._gateway.outcomes[f"smsc {code}"] += 1
        return web.json_response({"error": "refused", "error_code": code})

    def _inhouse_error(self, status: int, code: str) -> web.Response:
        self._gateway.outcomes[f"inhouse {code}"] += 1
        return web.json_response({"error": {"code": code}}, status=status)


def _is_lost(number: str) -> bool:
    """Whether the message never arrives: endings 71, where every fallback fails, and 76."""
    behaviour = behaviour_of(number)
    return behaviour.is_lost or not behaviour.fallback_works


def _same(given: str | None, expected: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


async def _form(request: web.Request) -> dict[str, str]:
    if request.content_type != _FORM:
        return {}
    return dict(parse_qsl((await request.read()).decode("utf-8", "replace"), max_num_fields=100))
