"""Whether the process lives, and whether it can work."""

from __future__ import annotations

from flask import Blueprint

from otpservice.api.answers import Answer
from otpservice.store.verifications import Verifications


def create_blueprint(verifications: Verifications) -> Blueprint:
    """``/healthz`` and ``/readyz``; they need no key and tell no secret."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    def healthz() -> Answer:
        return Answer(b'{"status":"ok"}')

    @blueprint.get("/readyz")
    def readyz() -> Answer:
        verifications.check()
        return Answer(b'{"status":"ready"}')

    return blueprint
