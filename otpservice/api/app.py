"""The application factory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from flask import Flask, Response, g, request

from otpservice.api import callbacks, docs, health, openapi, problems, verifications
from otpservice.api.auth import Authenticator
from otpservice.api.headers import HEADERS, request_id
from otpservice.api.schemas import LARGEST_BODY_BYTES
from otpservice.store.verifications import Verifications
from otpservice.verification.digests import Keyring
from otpservice.verification.policy import Policy
from otpservice.verification.reports import ReportReader

_QUIET = frozenset({"/healthz", "/readyz"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the application is made of.

    ``tenants`` maps the hex SHA-256 of each API key to its tenant's policy, ``report_readers`` each gateway's name to
    the reader of its reports, ``test_code_lengths`` each test number (E.164) to the length of its code.
    ``max_waiters`` is how many requests may wait for a delivery at once.
    """

    verifications: Verifications
    keyring: Keyring
    tenants: Mapping[str, Policy] = field(repr=False)
    report_readers: Mapping[str, ReportReader]
    test_code_lengths: Mapping[str, int] = field(repr=False)
    max_waiters: int


def create_app(parts: Parts) -> Flask:
    """The WSGI application. Shares nothing with another one made by the same process."""
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # a path is right or not found: no redirect is part of the contract
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES + 1
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    problems.register(app)
    app.register_blueprint(
        verifications.create_blueprint(
            parts.verifications,
            Authenticator(parts.tenants),
            parts.test_code_lengths,
            parts.max_waiters,
        )
    )
    app.register_blueprint(callbacks.create_blueprint(parts.verifications, parts.keyring, parts.report_readers))
    app.register_blueprint(health.create_blueprint(parts.verifications))
    app.register_blueprint(docs.create_blueprint(openapi.document()))
    app.before_request(_begin)
    app.after_request(_end)
    return app


def _begin() -> None:
    g.began = time.perf_counter()
    g.request_id = request_id(request.headers.get("X-Request-ID", ""))


def _end(response: Response) -> Response:
    """Finish the headers, and log one line."""
    headers = response.headers
    headers["X-Request-ID"] = g.request_id
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if _has_unread_body():
        # The server closes such a connection; a caller that is not told would send its next request there.
        headers["Connection"] = "close"
    rule = request.url_rule.rule if request.url_rule is not None else None
    policy: Policy | None = g.get("policy")
    write = log.debug if rule in _QUIET and response.status_code < 400 else log.info
    write(
        "request",
        request_id=g.request_id,
        method=request.method,
        route=rule,  # not the path: a callback's holds a token
        status=response.status_code,
        outcome=g.get("outcome"),
        tenant=policy.tenant if policy is not None else None,
        verification=g.get("verification"),
        duration_ms=round((time.perf_counter() - g.began) * 1000, 2),
    )
    return response


def _has_unread_body() -> bool:
    """Whether the request came with a body that nobody has read to its end, as it was refused before."""
    has_body = bool(request.content_length) or "Transfer-Encoding" in request.headers
    return has_body and not g.get("has_read_body", False)
