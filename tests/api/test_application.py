"""From a request to its handler: nothing that is to run before it is left out, and every request is answered."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from flask import Blueprint
from structlog.testing import capture_logs

from otpservice.api import problems
from otpservice.api.answers import Answer
from otpservice.api.application import Application
from otpservice.api.exchange import Envelope
from otpservice.api.problems import ProblemError
from tests.support.api import Api


def ask(app: Application, path: str) -> tuple[int, Any]:
    told: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path}
    body = b"".join(Envelope(app.wsgi_app)(environ, lambda status, *_: told.append(status)))  # type: ignore[arg-type]
    return int(told[0][:3]), orjson.loads(body)


def refuse() -> None:
    raise ProblemError("unauthorized", "No.")


def nested() -> tuple[Application, Blueprint, Blueprint]:
    """A blueprint with a handler, inside of another one."""
    outer, inner = Blueprint("outer", __name__, url_prefix="/outer"), Blueprint("inner", __name__, url_prefix="/inner")
    inner.add_url_rule("", "handler", lambda: Answer(b"{}"))
    return Application(__name__), outer, inner


@pytest.mark.parametrize("where", ["app", "outer", "inner"])
def test_what_is_to_run_before_a_handler_runs(where: str) -> None:
    app, outer, inner = nested()
    {"app": app, "outer": outer, "inner": inner}[where].before_request(refuse)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    assert ask(app, "/outer/inner")[0] == 401


def test_without_it_the_handler_answers() -> None:
    app, outer, inner = nested()
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    assert ask(app, "/outer/inner") == (200, {})


def test_a_refusal_that_is_returned_and_not_raised_lets_nobody_through() -> None:
    app, outer, inner = nested()
    inner.before_request(lambda: "No.")
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    assert ask(app, "/outer/inner")[0] == 500


def test_where_not_even_an_error_can_be_told_there_is_an_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise AssertionError("a secret")

    monkeypatch.setattr(problems, "respond", fail)
    with capture_logs() as logs:
        answer = api.get("/v1/verifications/v00aaaaaaaaaaaaaaaaaaaaaa", api_key="nobody")
    assert answer.status_code == 500
    assert orjson.loads(answer.data)["type"] == "/problems/internal-error"
    assert [entry["status"] for entry in logs if entry["event"] == "request"] == [500]
    assert "a secret" not in str(logs) + answer.text
