"""What gateways report of their own accord. Nothing in a callback is believed but for its signed token."""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog
from flask import Blueprint, Response, g

from otpservice.api.problems import ProblemError
from otpservice.api.schemas import body_bytes
from otpservice.store.verifications import Verifications
from otpservice.verification.digests import Keyring
from otpservice.verification.reports import ReportReader, UnreadableReportError

log = structlog.get_logger(__name__)


def create_blueprint(
    verifications: Verifications, keyring: Keyring, report_readers: Mapping[str, ReportReader]
) -> Blueprint:
    """Everything under ``/v1/callbacks``. ``report_readers`` maps each gateway's name to the reader of its reports."""
    blueprint = Blueprint("callbacks", __name__, url_prefix="/v1/callbacks")

    @blueprint.post("/<gateway>/<token>")
    def report(gateway: str, token: str) -> Response:
        reader = report_readers.get(gateway)
        named = keyring.read_callback_token(gateway, token, time.time())
        if reader is None or named is None:
            raise ProblemError("not-found", "There is no such callback.")
        id_, send = named
        g.verification = id_
        try:
            reported = reader(body_bytes())
        except UnreadableReportError as error:
            raise ProblemError("malformed-body", str(error)) from None
        g.outcome = verifications.report(id_, send, gateway, reported.number, reported.outcome)
        if not reported.outcome.is_recognised:
            log.warning("gateway-state-unknown", gateway=gateway, state=reported.outcome.reason)
        if g.outcome == "wrong-number":
            log.warning("callback-wrong-number", gateway=gateway, verification=id_)
        return Response(status=204)

    return blueprint
