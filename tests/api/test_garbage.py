"""A request leaves nothing behind, whatever comes of it.

What holds itself stays until Python collects garbage, many requests later: keys and numbers that nobody needs any more,
in memory that each request then has to do without.
"""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest
import redis

from otpservice.api.overload import Gate
from otpservice.store.connection import connect
from tests.support.api import API_KEY, PATH, Api
from tests.support.garbage import left_by
from tests.support.policies import CODE, NUMBER
from tests.support.ports import free_port
from tests.support.store import Store

NOBODY = "v00" + "a" * 22
START = b'{"number": "%s"}' % NUMBER.encode()


def answered(api: Api, method: str, path: str, body: bytes, **environ: Any) -> tuple[int, weakref.ref[io.BytesIO]]:
    """The status of the answer to a request, and what its body came from, if that is still there."""
    stream = io.BytesIO(body)
    statuses: list[int] = []
    whole = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_AUTHORIZATION": f"Bearer {API_KEY}",
        "wsgi.input": stream,
        **environ,
    }
    Gate(api.app, 1, monotonic)(whole, lambda status, *_: statuses.append(int(status[:3])))  # type: ignore[arg-type]
    return statuses[0], weakref.ref(stream)


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "environ"),
    [
        (201, "POST", PATH, START, {}),
        (400, "POST", PATH, b"{", {}),
        (422, "POST", PATH, b"{}", {}),
        (422, "POST", PATH, b'{"number": "+7"}', {}),
        (401, "POST", PATH, START, {"HTTP_AUTHORIZATION": ""}),
        (404, "POST", f"{PATH}/{NOBODY}/verify", b'{"code": "1234"}', {}),
        (404, "POST", "/v1/nothing", b"", {}),
        (404, "POST", "/v1/callbacks/nobody/token", b"{}", {}),
        (405, "PUT", PATH, b"", {}),
        (413, "POST", PATH, b" " * 20_000, {}),
        (415, "POST", PATH, START, {"CONTENT_TYPE": "text/plain"}),
    ],
)
def test_nothing_is_left_of_a_request(
    api: Api, status: int, method: str, path: str, body: bytes, environ: dict[str, str]
) -> None:
    leaves_nothing(lambda: answered(api, method, path, body, **environ), status)


@pytest.mark.parametrize(
    ("status", "action", "body"),
    [
        (200, "verify", b'{"code": "%s"}' % CODE.encode()),
        (422, "verify", b'{"code": "000000"}'),
        (409, "resend", b""),
        (200, "cancel", b""),
    ],
)
def test_nothing_is_left_of_a_request_about_a_verification(api: Api, status: int, action: str, body: bytes) -> None:
    made = iter([api.store.sent().id for _ in range(2)])
    leaves_nothing(lambda: answered(api, "POST", f"{PATH}/{next(made)}/{action}", body), status)


@pytest.mark.parametrize("keys", [("first", "second"), ("same", "same")], ids=["new", "replayed"])
def test_nothing_is_left_of_a_request_with_an_idempotency_key(api: Api, keys: tuple[str, str]) -> None:
    key = iter(keys)
    leaves_nothing(lambda: answered(api, "POST", PATH, START, HTTP_IDEMPOTENCY_KEY=next(key)), 201)


def test_nothing_is_left_of_a_request_whose_script_redis_does_not_know(api: Api, valkey: redis.Redis) -> None:
    def start() -> tuple[int, weakref.ref[io.BytesIO]]:
        valkey.script_flush()
        return answered(api, "POST", PATH, START)

    leaves_nothing(start, 201)


@pytest.fixture
def full(api: Api, valkey: redis.Redis) -> Iterator[Api]:
    """Its Redis takes nothing more."""
    valkey.config_set("maxmemory", "1")
    yield api
    valkey.config_set("maxmemory", "0")


@pytest.fixture
def down() -> Iterator[Api]:
    """It has no Redis."""
    with connect(f"redis://127.0.0.1:{free_port()}/0") as client:
        yield Api(Store(client))


@pytest.mark.parametrize("broken", ["full", "down"])
@pytest.mark.parametrize("body", [START, START[:-1] + b', "ip": "192.0.2.1"}'])
def test_nothing_is_left_of_a_request_that_redis_failed(
    broken: str, body: bytes, request: pytest.FixtureRequest
) -> None:
    api: Api = request.getfixturevalue(broken)
    leaves_nothing(lambda: answered(api, "POST", PATH, body), 503)


def test_nothing_is_left_of_a_request_that_met_a_defect(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(api.store.verifications._runner, "run", fail)
    leaves_nothing(lambda: answered(api, "POST", PATH, START), 500)


def leaves_nothing(ask: Callable[[], tuple[int, weakref.ref[io.BytesIO]]], status: int) -> None:
    def asked() -> None:
        answer, stream = ask()
        assert answer == status
        assert stream() is None

    assert left_by(asked) == []
