"""One request and its answer: what is known of them meanwhile, what every answer carries, and the line in the log."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from werkzeug.datastructures import EnvironHeaders
from werkzeug.http import parse_options_header

from otpservice.api.headers import HEADERS, request_id
from otpservice.verification.policy import Policy

_QUIET = frozenset({"/healthz", "/readyz"})
_STANDARD_HEADERS = tuple(HEADERS.items())
_MOST_LENGTH_DIGITS = 20  # of 64 bits: the server takes no more, but any number of zeros before them

_current: ContextVar[Exchange] = ContextVar("exchange")

log = structlog.get_logger(__name__)


class Exchange:
    """What is known of a request while it is answered; the handlers fill it in, for each other and for the log.

    ``policy`` is that of the tenant who asks, ``route`` the pattern of the path, ``verification`` the id that the
    request is about, ``outcome`` how it went in a word.
    """

    __slots__ = ("began", "environ", "has_read_body", "id", "outcome", "policy", "route", "status", "verification")

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.began = time.perf_counter()
        self.environ = environ
        self.id = request_id(environ.get("HTTP_X_REQUEST_ID", ""))
        self.status = 0
        self.has_read_body = False
        self.policy: Policy | None = None
        self.route: str | None = None
        self.verification: str | None = None
        self.outcome: str | None = None

    @property
    def tenants_policy(self) -> Policy:
        """The policy, where only a tenant gets this far. Raises AssertionError elsewhere."""
        if self.policy is None:
            raise AssertionError("nobody has asked who calls")
        return self.policy

    @property
    def media_type(self) -> str:
        """That of the request's body, without its parameters; empty where none is given."""
        return parse_options_header(self.environ.get("CONTENT_TYPE", ""))[0].lower()

    @property
    def headers(self) -> EnvironHeaders:
        """The request's headers. One whose name is known is found faster in ``environ``."""
        return EnvironHeaders(self.environ)

    @property
    def has_unread_body(self) -> bool:
        """Whether the request came with a body that nobody has read to its end, as it was refused before."""
        return not self.has_read_body and announced_length(self.environ) != 0


def announced_length(environ: WSGIEnvironment) -> int | None:
    """How long the request's body is, in bytes, None where it comes in chunks (RFC 9112, 6.3).

    0 where nothing is announced, or no number: the server refuses such a request itself.
    """
    if "HTTP_TRANSFER_ENCODING" in environ:
        return None
    length = environ.get("CONTENT_LENGTH", "")
    is_number = length.isascii() and length.isdigit()
    return int(length.lstrip("0")[:_MOST_LENGTH_DIGITS] or 0) if is_number else 0


def current() -> Exchange:
    """The exchange that this thread is about. Raises LookupError where it is about none."""
    return _current.get()


class Envelope:
    """WSGI middleware: names every request, finishes the headers of its answer, and logs one line."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        exchange = Exchange(environ)

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            exchange.status = int(status[:3])
            return start_response(status, _finished(headers, exchange), *exc_info)

        token = _current.set(exchange)
        try:
            return self._application(environ, start)
        finally:
            _current.reset(token)
            _log(exchange)


def _finished(headers: list[tuple[str, str]], exchange: Exchange) -> list[tuple[str, str]]:
    """An answer's own headers and those of every answer; its own count more."""
    own = {name for name, _ in headers}
    standard = _STANDARD_HEADERS
    if not own.isdisjoint(HEADERS):
        standard = tuple(header for header in standard if header[0] not in own)
    finished = [*headers, *standard, ("X-Request-ID", exchange.id)]
    if exchange.has_unread_body:
        # The server closes such a connection; a caller that is not told would send its next request there.
        finished.append(("Connection", "close"))
    return finished


def _log(exchange: Exchange) -> None:
    write = log.debug if exchange.route in _QUIET and exchange.status < 400 else log.info
    write(
        "request",
        request_id=exchange.id,
        method=exchange.environ["REQUEST_METHOD"],
        route=exchange.route,  # not the path: a callback's holds a token
        status=exchange.status,
        outcome=exchange.outcome,
        tenant=exchange.policy.tenant if exchange.policy is not None else None,
        verification=exchange.verification,
        duration_ms=round((time.perf_counter() - exchange.began) * 1000, 2),
    )
