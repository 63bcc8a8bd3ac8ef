"""The Flask application, with a shorter way from a request to its handler.

Handlers work with the exchange (``exchange.current``) and never with Flask's current request. So no context is made and
torn down for each request, no session is opened, and no signal is sent: in Flask that is half of what an empty
request costs. Routes, blueprints and what runs before their handlers are registered as in any Flask application.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import structlog
from flask import Flask

from otpservice.api.answers import Answer
from otpservice.api.exchange import current
from otpservice.api.paths import Paths
from otpservice.api.problems import LAST_RESORT, answer_to
from otpservice.logs import log_defect

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Handler:
    """What answers a request; ``before`` runs first and raises where it is to be refused."""

    view: Callable[..., Any]
    before: tuple[Callable[[], Any], ...]


class Application(Flask):
    """A Flask application whose handlers return an Answer or raise. To be called inside an Envelope.

    Of what Flask can be told to run besides the handlers only ``before_request`` is run, and nothing is returned by it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, whatever happens."""
        try:
            path = environ["PATH_INFO"].encode("latin1").decode(errors="replace")  # WSGI's encoding (PEP 3333)
            rule, variables = self._paths.find(path, environ["REQUEST_METHOD"])
            current().route = rule.rule
            handler = self._handlers[rule.endpoint]
            for before in handler.before:
                _refuse_answers(before())
            answer: Answer = handler.view(**variables)
        except Exception as error:
            answer = _answer_surely(error)
        return answer(environ, start_response)

    # Both are made at the first request: by then every blueprint is registered.

    @cached_property
    def _paths(self) -> Paths:
        return Paths(self.url_map.iter_rules())

    @cached_property
    def _handlers(self) -> dict[str, _Handler]:
        return {endpoint: _Handler(view, self._before(endpoint)) for endpoint, view in self.view_functions.items()}

    def _before(self, endpoint: str) -> tuple[Callable[[], Any], ...]:
        """What is registered for all, then for each blueprint that the endpoint is in, the outermost first."""
        names = endpoint.split(".")[:-1]
        scopes = [None, *(".".join(names[: place + 1]) for place in range(len(names)))]
        return tuple(before for scope in scopes for before in self.before_request_funcs.get(scope, ()))


def _refuse_answers(returned: object) -> None:
    """In Flask what runs before a handler may answer instead of it; here it raises."""
    if returned is not None:
        raise TypeError("what runs before a handler returned something: it is to raise where it refuses")


def _answer_surely(error: Exception) -> Answer:
    try:
        return answer_to(error)
    except Exception as defect:
        log_defect(log, "answer-defect", defect)
        return LAST_RESORT
