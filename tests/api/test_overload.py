"""How many requests are at work, wait, read or are refused; threads and a stand-in for the application."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from otpservice.api import overload
from otpservice.api.headers import HEADERS
from otpservice.api.overload import Gate
from otpservice.api.threads import threads_for
from otpservice.verification.errors import OverloadedError

HANDLERS = 2
INSIDE = HANDLERS * 6  # at work, waiting, reading
PATIENT = 60.0


class Application:
    """Holds every request until it is told to let them go; reads the body first where the path says so."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.at_work = threading.Semaphore(0)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        body = environ["wsgi.input"].read(100) if path == "/read" else b""
        if path == "/hold":
            self.at_work.release()
            assert self.go_on.wait(PATIENT)
        start_response("200 OK", [])
        return [b"answer ", body]


class Body(io.BytesIO):
    """A body that comes when it is let come."""

    def __init__(self, arrives: threading.Event, reading: threading.Semaphore) -> None:
        super().__init__(b"body")
        self._arrives, self._reading = arrives, reading

    def read(self, size: int | None = -1, /) -> bytes:
        self._reading.release()
        assert self._arrives.wait(PATIENT)
        return super().read(size)


@pytest.fixture
def application() -> Iterator[Application]:
    application = Application()
    yield application
    application.go_on.set()


@pytest.fixture
def pool(application: Application) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(100) as pool:
        yield pool
        application.go_on.set()


@pytest.fixture
def ask(application: Application, pool: ThreadPoolExecutor) -> Callable[..., Future[tuple[int, bytes]]]:
    """Sends a request from a thread of its own; its status and body come later."""
    admitted = Gate(application, HANDLERS, lambda: 0.0)

    def call(path: str, body: io.BytesIO, authorization: str) -> tuple[int, bytes]:
        statuses: list[int] = []
        environ = {"PATH_INFO": path, "wsgi.input": body, "CONTENT_LENGTH": "4", "HTTP_AUTHORIZATION": authorization}
        answer = admitted(environ, lambda status, *_: statuses.append(int(status[:3])))  # type: ignore[arg-type]
        return statuses[0], b"".join(answer)

    def ask(path: str, body: io.BytesIO | None = None, authorization: str = "") -> Future[tuple[int, bytes]]:
        return pool.submit(call, path, body or io.BytesIO(b"body"), authorization)

    return ask


def _status(answer: Future[tuple[int, bytes]]) -> int:
    return answer.result(PATIENT)[0]


def test_a_request_waits_for_its_turn(
    application: Application, ask: Callable[..., Future[tuple[int, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "PATIENCE_SECONDS", PATIENT)
    answers = [ask("/hold") for _ in range(HANDLERS + 1)]
    for _ in range(HANDLERS):
        application.at_work.acquire()
    assert not application.at_work.acquire(timeout=0.1)
    application.go_on.set()
    assert {_status(answer) for answer in answers} == {200}


def test_a_request_whose_turn_does_not_come_is_refused(
    application: Application, ask: Callable[..., Future[tuple[int, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "PATIENCE_SECONDS", 0.01)
    held = [ask("/hold") for _ in range(HANDLERS)]
    for _ in range(HANDLERS):
        application.at_work.acquire()
    assert _status(ask("/hold")) == 503
    application.go_on.set()
    assert {_status(answer) for answer in held} == {200}
    assert _status(ask("/hold")) == 200


def test_one_too_many_to_wait_is_refused_at_once_and_health_is_answered(
    application: Application, ask: Callable[..., Future[tuple[int, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "PATIENCE_SECONDS", PATIENT)
    answers = [ask("/hold") for _ in range(INSIDE)]
    beyond = [ask("/hold") for _ in range(10)]
    refused = [answer for answer in (*answers, *beyond) if _waits_not(answer)]
    assert len(refused) == 10
    assert _status(ask("/healthz")) == _status(ask("/readyz")) == 200
    application.go_on.set()
    assert sorted(map(_status, (*answers, *beyond))) == [200] * INSIDE + [503] * 10


def _waits_not(answer: Future[tuple[int, bytes]]) -> bool:
    try:
        answer.result(0.2)
    except TimeoutError:
        return False
    return True


def test_readers_hold_no_handlers_and_one_caller_not_all_readers(
    ask: Callable[..., Future[tuple[int, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "PATIENCE_SECONDS", 0.01)
    arrives, reading = threading.Event(), threading.Semaphore(0)
    slow = ask("/read", Body(arrives, reading), "one")
    assert reading.acquire(timeout=PATIENT)
    assert _status(ask("/read", None, "one")) == 503  # its share is one of two
    assert ask("/read", None, "other").result(PATIENT) == (200, b"answer body")
    arrives.set()
    assert slow.result(PATIENT) == (200, b"answer body")
    assert _status(ask("/read", None, "one")) == 200


def test_a_reader_that_gets_no_handler_back_is_refused(
    application: Application, ask: Callable[..., Future[tuple[int, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "PATIENCE_SECONDS", 0.01)
    arrives, reading = threading.Event(), threading.Semaphore(0)
    slow = ask("/read", Body(arrives, reading))
    assert reading.acquire(timeout=PATIENT)
    held = [ask("/hold") for _ in range(HANDLERS)]
    for _ in range(HANDLERS):
        application.at_work.acquire()
    arrives.set()
    assert _status(slow) == 503
    application.go_on.set()
    assert {_status(answer) for answer in held} == {200}
    assert {_status(ask("/hold")) for _ in range(HANDLERS + 1)} == {200}  # no slot was lost, none won


def test_a_refusal_says_what_an_answer_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "PATIENCE_SECONDS", 0.01)
    said: list[tuple[str, str]] = []

    def refuse(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"].read(1)
        raise AssertionError("nothing can be read")

    class Never(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OverloadedError("no", 1000)

    environ = {
        "PATH_INFO": "/v1/verifications",
        "wsgi.input": Never(),
        "CONTENT_LENGTH": "1",
        "HTTP_X_REQUEST_ID": "mine",
    }
    answer = Gate(refuse, 1, lambda: 0.0)(environ, lambda _, headers, *__: said.extend(headers))  # type: ignore[arg-type]
    headers = dict(said)
    assert HEADERS.items() <= headers.items()
    assert headers["Retry-After"] == "1"
    assert headers["X-Request-ID"] == "mine"
    assert b'"type":"/problems/overloaded"' in b"".join(answer)


def test_there_is_a_thread_for_everyone_inside_and_some_to_spare() -> None:
    assert threads_for(HANDLERS) >= INSIDE + 4
