"""What gateways report of their own accord.

Nothing in a callback is believed but for the signed token in its address and, where the gateway signs too, that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog
from flask import Blueprint

from otpservice.api.answers import Answer
from otpservice.api.bodies import body_bytes
from otpservice.api.exchange import current
from otpservice.api.problems import ProblemError
from otpservice.store.verifications import Verifications
from otpservice.verification.digests import Keyring
from otpservice.verification.reports import ReportReader, UnreadableReportError, UntrustedReportError

log = structlog.get_logger(__name__)


def create_blueprint(
    verifications: Verifications, keyring: Keyring, report_readers: Mapping[str, ReportReader]
) -> Blueprint:
    """Everything under ``/v1/callbacks``. ``report_readers`` maps each gateway's name to the reader of its reports."""
    blueprint = Blueprint("callbacks", __name__, url_prefix="/v1/callbacks")

    @blueprint.post("/<gateway>/<token>")
    def report(gateway: str, token: str) -> Answer:
        reader = report_readers.get(gateway)
        named = keyring.read_callback_token(gateway, token, time.time())
        if reader is None or named is None:
            raise _not_found()
        id_, send = named
        exchange = current()
        exchange.verification = id_
        try:
            headers = {name.lower(): value for name, value in exchange.headers}
            reported = reader(body_bytes(), headers, time.time())
        except UntrustedReportError as error:
            # Somebody has the address and not the key, or the clocks differ.
            log.warning("callback-untrusted", gateway=gateway, verification=id_, problem=str(error))
            raise _not_found() from None
        except UnreadableReportError as error:
            raise ProblemError("malformed-body", str(error)) from None
        exchange.outcome = verifications.report(id_, send, gateway, reported.number, reported.outcome)
        if not reported.outcome.is_recognised:
            log.warning("gateway-state-unknown", gateway=gateway, state=reported.outcome.reason)
        if exchange.outcome == "wrong-number":
            log.warning("callback-wrong-number", gateway=gateway, verification=id_)
        return Answer(b"", 204, media_type=None)

    return blueprint


def _not_found() -> ProblemError:
    return ProblemError("not-found", "There is no such callback.")
