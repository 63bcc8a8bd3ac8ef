"""Whether the process lives and whether it can work, the OpenAPI document, and the page that shows it."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response

from otpservice.api.docs import render
from otpservice.store.verifications import Verifications


def create_blueprint(verifications: Verifications, document: dict[str, Any]) -> Blueprint:
    """``/healthz``, ``/readyz``, ``/openapi.json`` and ``/docs``; they need no key and tell no secret."""
    blueprint = Blueprint("health", __name__)
    rendered, page = orjson.dumps(document, option=orjson.OPT_INDENT_2), render(document)

    @blueprint.get("/healthz")
    def healthz() -> Response:
        return Response(b'{"status":"ok"}', mimetype="application/json")

    @blueprint.get("/readyz")
    def readyz() -> Response:
        verifications.check()
        return Response(b'{"status":"ready"}', mimetype="application/json")

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        return Response(rendered, mimetype="application/json")

    @blueprint.get("/docs")
    def docs() -> Response:
        return Response(page.content, mimetype="text/html", headers={"Content-Security-Policy": page.policy})

    return blueprint
