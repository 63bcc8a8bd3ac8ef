"""Start, verify, resend, cancel, get."""

from __future__ import annotations

import re
from collections.abc import Mapping
from threading import BoundedSemaphore

from flask import Blueprint

from otpservice.api.answers import Answer, json_answer
from otpservice.api.auth import Authenticator
from otpservice.api.bodies import Body, invalid, read_body
from otpservice.api.exchange import Exchange, current
from otpservice.api.problems import ProblemError
from otpservice.api.schemas import (
    EmptyRequest,
    ResendRequest,
    StartRequest,
    VerifyRequest,
    represent,
)
from otpservice.store.records import Start
from otpservice.store.verifications import Verifications
from otpservice.verification.ids import partition_of
from otpservice.verification.lifecycle import Verification
from otpservice.verification.numbers import NumberNotAllowedError, UnreadableNumberError, parse_number
from otpservice.verification.policy import Policy

_LONGEST_IDEMPOTENCY_KEY = 255
_LONGEST_WAIT_SECONDS = 30
_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,6})\"?", re.IGNORECASE)


def create_blueprint(
    verifications: Verifications,
    authenticate: Authenticator,
    test_code_lengths: Mapping[str, int],
    max_waiters: int,
) -> Blueprint:
    """Everything under ``/v1/verifications``.

    ``test_code_lengths`` maps a test number (E.164) to the length of its code; ``max_waiters`` is how many requests
    of this process may wait for a delivery at once.
    """
    blueprint = Blueprint("verifications", __name__, url_prefix="/v1/verifications")
    blueprint.before_request(authenticate)
    start_body, verify_body = Body(StartRequest), Body(VerifyRequest)
    resend_body, empty_body = Body(ResendRequest), Body(EmptyRequest)
    waiters = BoundedSemaphore(max_waiters)

    @blueprint.post("")
    def start() -> Answer:
        exchange = current()
        policy = exchange.tenants_policy
        body = read_body(start_body)
        number = _number(body["number"], policy, test_code_lengths)
        started = verifications.start(
            Start(
                number=number,
                fallback=body.get("fallback", policy.fallback),
                code_length=test_code_lengths.get(number) or body.get("code_length", policy.code_length),
                binding=body.get("binding"),
                purpose=body.get("purpose"),
                ip=body.get("ip"),
                idempotency_key=_idempotency_key(exchange),
            ),
            policy,
        )
        headers = [("Location", f"/v1/verifications/{started.verification.id}")]
        if started.replayed:
            headers.append(("Idempotent-Replayed", "true"))
        return _answer(exchange, started.verification, 201, headers)

    @blueprint.post("/<id>/verify")
    def verify(id: str) -> Answer:
        exchange = _named(id)
        body = read_body(verify_body)
        verified = verifications.verify(id, body["code"], body.get("binding"), exchange.tenants_policy)
        return _answer(exchange, verified)

    @blueprint.post("/<id>/resend")
    def resend(id: str) -> Answer:
        exchange = _named(id)
        body = read_body(resend_body, optional=True)
        return _answer(exchange, verifications.resend(id, body.get("fallback"), exchange.tenants_policy), 202)

    @blueprint.post("/<id>/cancel")
    def cancel(id: str) -> Answer:
        exchange = _named(id)
        read_body(empty_body, optional=True)
        return _answer(exchange, verifications.cancel(id, exchange.tenants_policy))

    @blueprint.get("/<id>")
    def get(id: str) -> Answer:
        exchange = _named(id)
        policy = exchange.tenants_policy
        found = verifications.get(id, policy)
        seconds = _preferred_wait(exchange)
        if seconds is None:
            return _answer(exchange, found)
        if not found.is_settled:
            # Waiting holds a thread, and verify needs threads too: past the limit the answer comes at once.
            if not waiters.acquire(blocking=False):
                return _answer(exchange, found)
            try:
                found = verifications.wait(id, policy, seconds)
            finally:
                waiters.release()
        return _answer(exchange, found, headers=[("Preference-Applied", f"wait={seconds}")])

    return blueprint


def _named(id: str) -> Exchange:
    """The exchange, named by its verification: only by an id, for a caller may have put anything there."""
    exchange = current()
    if partition_of(id) is not None:
        exchange.verification = id
    return exchange


def _answer(
    exchange: Exchange,
    verification: Verification,
    status: int = 200,
    headers: list[tuple[str, str]] | None = None,
) -> Answer:
    exchange.verification = verification.id
    exchange.outcome = verification.status.value
    return json_answer(represent(verification), status, headers)


def _number(text: str, policy: Policy, test_numbers: Mapping[str, int]) -> str:
    if text in test_numbers:
        return text
    try:
        return parse_number(text, policy.default_region, policy.regions)
    except UnreadableNumberError as error:
        raise invalid({"number": [str(error)]}) from None
    except NumberNotAllowedError as error:
        raise ProblemError("number-not-allowed", str(error)) from None


def _idempotency_key(exchange: Exchange) -> str | None:
    key = exchange.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not (0 < len(key) <= _LONGEST_IDEMPOTENCY_KEY and key.isascii() and key.isprintable()):
        raise invalid({"Idempotency-Key": [f"Must be 1 to {_LONGEST_IDEMPOTENCY_KEY} printable ASCII characters."]})
    return key


def _preferred_wait(exchange: Exchange) -> int | None:
    """Seconds to wait, from ``Prefer: wait=N`` (RFC 7240, 4.3). A preference that makes no sense is ignored."""
    for preference in exchange.environ.get("HTTP_PREFER", "").split(","):
        match = _WAIT.fullmatch(preference.strip())
        if match is not None:
            return min(int(match[1]), _LONGEST_WAIT_SECONDS)
    return None
