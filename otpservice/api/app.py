"""The application factory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Request, request
from flask.sessions import NullSession, SecureCookieSessionInterface
from werkzeug.routing import MapAdapter
from werkzeug.utils import cached_property

from otpservice.api import callbacks, docs, health, openapi, problems, verifications
from otpservice.api.answers import Answer
from otpservice.api.auth import Authenticator
from otpservice.api.exchange import Envelope, current
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
    app = _Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # a path is right or not found: no redirect is part of the contract
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
    app.before_request(_note_route)
    app.wsgi_app = Envelope(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _note_route() -> None:
    current().route = request.url_rule.rule if request.url_rule is not None else None


class _NoSessions(SecureCookieSessionInterface):
    """Nobody has a session here: the same empty one for all."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        """No cookie is looked for."""
        return self._none


class _Request(Request):
    """A request that works out once which blueprints it belongs to."""

    @cached_property
    def blueprints(self) -> list[str]:  # type: ignore[override]
        """Their names, the innermost first."""
        return super().blueprints


class _Flask(Flask):
    """Flask without what no request here needs: sessions, coroutines, signals, and work on an answer that is whole."""

    request_class = _Request
    session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No handler is a coroutine."""
        return func

    # What it returns is called by the server, and nothing else is done with it.
    def full_dispatch_request(self) -> Answer:  # type: ignore[override]
        """Run what comes before the handlers, and the handler; every one of them returns an Answer or raises."""
        try:
            answer: Any = self.preprocess_request()
            if answer is None:
                answer = self.dispatch_request()
        except Exception as error:
            answer = self.handle_user_exception(error)
        if not isinstance(answer, Answer):
            raise TypeError(f"a handler returned {type(answer).__name__}")
        return answer

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Match by method and path alone."""
        if request is None:
            return None
        path = request.environ["PATH_INFO"].encode("latin1").decode(errors="replace")  # WSGI's encoding (PEP 3333)
        return MapAdapter(self.url_map, "", "/", None, "http", path, request.method)
