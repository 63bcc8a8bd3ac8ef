"""Whether the process lives, and whether it can work."""

from __future__ import annotations

from flask import Blueprint, Response

from otpservice.store.verifications import Verifications


def create_blueprint(verifications: Verifications) -> Blueprint:
    """``/healthz`` and ``/readyz``; they need no key and tell no secret."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    def healthz() -> Response:
        return Response(b'{"status":"ok"}', mimetype="application/json")

    @blueprint.get("/readyz")
    def readyz() -> Response:
        verifications.check()
        return Response(b'{"status":"ready"}', mimetype="application/json")

    return blueprint
