"""Any SMS or voice provider that takes a code over HTTP and answers with JSON, told how by the settings.

Nothing that is filled into a request can change its shape: JSON and forms are encoded after, an address while they
are filled in, and headers take nothing but printable ASCII.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlencode

from otpservice.delivery.gateways.base import (
    AccountError,
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
from otpservice.delivery.gateways.http import Answer, JsonClient
from otpservice.delivery.gateways.http_rules import (
    AnswerRules,
    ErrorRules,
    ReportRules,
    StateRules,
    Template,
    Tree,
    fill,
    fill_flat,
    look_up,
)
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback, Outcome
from otpservice.verification.reports import Report, UnreadableReportError

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_NO_ERROR = frozenset({"", "0", "false"})
_MOST_FIELDS = 100
_NUMBER = re.compile(r"\+?[0-9]{5,15}")


class HttpProvider:
    """One provider, for one channel. ``timeout`` is in seconds; ``values`` are placeholders of the operator's own.

    ``body`` is sent as ``format`` says, None for a request without one.
    """

    def __init__(
        self,
        *,
        name: str,
        channel: Channel,
        method: str,
        url: Template,
        text: Template,
        headers: Mapping[str, Template],
        query: Mapping[str, Template],
        body: Tree,
        format: Literal["json", "form"],
        basic_auth: tuple[str, str] | None,
        values: Mapping[str, str],
        answer: AnswerRules,
        states: StateRules,
        errors: ErrorRules,
        timeout: float,
        max_in_flight: int,
    ) -> None:
        self.name = name
        self.max_in_flight = max_in_flight
        self._channel, self._fallback = channel, Fallback(channel.value)
        self._method, self._url, self._text = method, url, text
        self._headers, self._query, self._body = headers, query, body
        self._fixed_headers = {"Accept": _JSON}
        if body is not None:
            self._fixed_headers["Content-Type"] = _JSON if format == "json" else _FORM
        if basic_auth is not None:
            credentials = b64encode(":".join(basic_auth).encode()).decode()
            self._fixed_headers["Authorization"] = f"Basic {credentials}"
        self._format = format
        self._values = values
        self._answer = answer
        self._states = _meanings(states)
        self._errors = _kinds(errors)
        self._client = JsonClient(timeout, max_in_flight)

    def __repr__(self) -> str:
        return f"HttpProvider(name={self.name!r})"

    def serves(self, fallback: Fallback) -> bool:
        """Only where the caller asked for this channel: ``none`` means no SMS and no call."""
        return fallback is self._fallback

    async def send(self, message: Message) -> Outcome:
        """Hand one code over. Raises a GatewayError where it was not taken."""
        values = {
            **self._values,
            "number": message.number,
            "digits": message.number.removeprefix("+"),
            "code": message.code,
            "fallback": message.fallback.value,
        }
        values["text"] = self._text.fill(values)
        if message.callback_url is not None:
            values["callback_url"] = message.callback_url
        url = self._url.fill(values, lambda value: quote(value, safe=""))
        if query := urlencode(fill_flat(self._query, values)):
            url = f"{url}?{query}"
        headers = self._fixed_headers | fill_flat(self._headers, values)
        answer = await self._client.ask(self._method, url, headers, self._content(values))
        return self._read(answer, message.code)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    def _content(self, values: Mapping[str, str]) -> bytes | None:
        if self._body is None:
            return None
        filled = fill(self._body, values)
        if self._format == "form":
            return urlencode(filled).encode()
        return json.dumps(filled, ensure_ascii=False, separators=(",", ":")).encode()

    def _read(self, answer: Answer, code: str) -> Outcome:
        """What the provider says. Its error code decides, where the settings know it; then the HTTP status."""
        status, error = answer.status, look_up(answer.body, self._answer.error)
        if error is not None and error in self._errors:
            raise self._errors[error](error)  # the text is that of the settings
        if status == 429 or status >= 500:
            raise UnavailableError(f"http {status}", answer.retry_after)
        if status in {401, 402}:
            raise AccountError(f"http {status}")
        is_good = status in self._answer.statuses if self._answer.statuses else 200 <= status < 300
        if not is_good or (error is not None and error not in _NO_ERROR):
            detail = safe_text(error)
            raise GatewayError(f"http {status}" if detail is None else f"http {status}: {detail}")
        outcome = _outcome(answer.body, self._answer, self._states, self._channel, code)
        if outcome.state is DeliveryState.FAILED:
            raise NotPermittedError(outcome.reason or "failed")
        return outcome


class HttpReports:
    """Reads the reports of one provider. They carry no secret of their own: the signed address has to do."""

    def __init__(self, channel: Channel, rules: ReportRules, states: StateRules) -> None:
        self._channel, self._rules, self._states = channel, rules, _meanings(states)

    def __call__(self, body: bytes, headers: Mapping[str, str], now: float) -> Report:
        """Raises UnreadableReportError; see ReportReader."""
        document = self._document(body)
        number, state = look_up(document, self._rules.number), look_up(document, self._rules.state)
        if number is None or not _NUMBER.fullmatch(number):
            raise UnreadableReportError(f"{self._rules.number}: not a phone number.")
        if not state:
            raise UnreadableReportError(f"{self._rules.state}: missing or no text.")
        where = AnswerRules(id=self._rules.id, state=self._rules.state, price=self._rules.price)
        outcome = _outcome(document, where, self._states, self._channel, None)
        return Report(f"+{number.removeprefix('+')}", outcome)

    def _document(self, body: bytes) -> object:
        try:
            if self._rules.format == "form":
                return dict(parse_qsl(body.decode(), max_num_fields=_MOST_FIELDS))
            return json.loads(body)
        except (ValueError, RecursionError):
            kind = "a form" if self._rules.format == "form" else "JSON"
            raise UnreadableReportError(f"The body is not {kind}.") from None


def _meanings(states: StateRules) -> Mapping[str, DeliveryState]:
    return {
        **dict.fromkeys(states.sent, DeliveryState.SENT),
        **dict.fromkeys(states.delivered, DeliveryState.DELIVERED),
        **dict.fromkeys(states.failed, DeliveryState.FAILED),
    }


def _kinds(errors: ErrorRules) -> Mapping[str, type[GatewayError]]:
    return {
        **dict.fromkeys(errors.number, NumberRefusedError),
        **dict.fromkeys(errors.account, AccountError),
        **dict.fromkeys(errors.declined, NotPermittedError),
        **dict.fromkeys(errors.retry, UnavailableError),
    }


def _outcome(
    document: Any, where: AnswerRules, states: Mapping[str, DeliveryState], channel: Channel, code: str | None
) -> Outcome:
    """What an answer or a report says; a state that the settings do not name is a hand-over, its text the reason."""
    text = look_up(document, where.state)
    known = states.get(text) if text is not None else DeliveryState.SENT
    reason = None
    if known is None:
        reason = safe_text(text) or "no state"
    elif known is DeliveryState.FAILED:
        reason = text  # it is one of the settings
    return Outcome(
        state=known or DeliveryState.SENT,
        channel=channel,
        reason=reason,
        price=safe_price(_price(look_up(document, where.price)), code),
        request_id=safe_request_id(look_up(document, where.id), code),
        is_recognised=known is not None,
    )


def _price(text: str | None) -> str | None:
    """A price without the sign that some providers put before what one owes."""
    try:
        price = Decimal(text or "")
    except InvalidOperation:
        return None
    return price_text(abs(price)) if price.is_finite() else None
