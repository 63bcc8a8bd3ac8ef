"""Flask without what no request here needs: sessions, coroutines, signals, and work on an answer that is whole.

Each thing that is left out is a method that Flask lets be replaced; together they are more than half of what an empty
request costs in it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from flask import Flask, Request
from flask.sessions import NullSession, SecureCookieSessionInterface
from werkzeug.routing import Rule

from otpservice.api.answers import Answer
from otpservice.api.paths import Paths


class Application(Flask):
    """A Flask application whose handlers, and what comes before them, return an Answer or raise.

    ``after_request``, ``teardown_request`` and signals are not supported.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False

    @cached_property
    def paths(self) -> Paths:
        """All rules. To be read when every blueprint is registered."""
        return Paths(self.url_map.iter_rules())

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No handler is a coroutine."""
        return func

    # What it returns is called by the server, and nothing else is done with it.
    def full_dispatch_request(self) -> Answer:  # type: ignore[override]
        """Run what comes before the handlers, then the handler."""
        try:
            answer: Any = self.preprocess_request()
            if answer is None:
                answer = self.dispatch_request()
        except Exception as error:
            answer = self.handle_user_exception(error)
        if not isinstance(answer, Answer):
            raise TypeError(f"a handler returned {type(answer).__name__}")
        return answer

    def create_url_adapter(self, request: Request | None) -> _Adapter | None:  # type: ignore[override]
        """Match by method and path alone."""
        return _Adapter(self.paths, request) if request is not None else None

    def do_teardown_request(self, exc: BaseException | None = None) -> None:
        """Nothing is torn down."""

    def do_teardown_appcontext(self, exc: BaseException | None = None) -> None:
        """Nothing is torn down."""


class _Adapter:
    """What Flask asks where a request leads."""

    def __init__(self, paths: Paths, request: Request) -> None:
        self._paths = paths
        self._request = request

    def match(self, *, return_rule: bool) -> tuple[Rule, dict[str, Any]]:
        environ = self._request.environ
        path = environ["PATH_INFO"].encode("latin1").decode(errors="replace")  # WSGI's encoding (PEP 3333)
        return self._paths.find(path, environ["REQUEST_METHOD"])


class _Request(Request):
    """A request that works out once which blueprints it belongs to."""

    @cached_property
    def blueprints(self) -> list[str]:
        return super().blueprints


class _NoSessions(SecureCookieSessionInterface):
    """Nobody has a session here: the same empty one for all."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        """No cookie is looked for."""
        return self._none


Application.request_class = _Request
Application.session_interface = _NoSessions()
