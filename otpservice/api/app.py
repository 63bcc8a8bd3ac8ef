"""The application factory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flask import Flask

from otpservice.api import callbacks, docs, health, openapi, verifications
from otpservice.api.application import Application
from otpservice.api.auth import Authenticator
from otpservice.api.exchange import Envelope
from otpservice.store.verifications import Verifications
from otpservice.verification.digests import Keyring
from otpservice.verification.policy import Policy
from otpservice.verification.reports import ReportReader


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
    app = Application(__name__)
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
    app.wsgi_app = Envelope(app.wsgi_app)  # type: ignore[method-assign]
    return app
