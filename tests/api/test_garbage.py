"""A request leaves nothing behind, whatever comes of it: neither its key and body, nor memory to be looked for.

What holds itself stays until Python collects garbage, some seventy requests later. Then each request works on memory
that is in no cache of the processor any more, which costs a start a twentieth of its time.
"""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
import redis

from otpservice.api.overload import Gate
from tests.support.api import API_KEY, PATH, Api
from tests.support.garbage import nothing_collected
from tests.support.policies import CODE, NUMBER

NOBODY = "v00" + "a" * 22
_START = b'{"number": "%s"}' % NUMBER.encode()


def answered(api: Api, method: str, path: str, body: bytes, **environ: Any) -> tuple[int, weakref.ref[io.BytesIO]]:
    """The status of the answer to a request, and what its body came from, if that is still there."""
    body_read = io.BytesIO(body)
    statuses: list[int] = []
    whole = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_AUTHORIZATION": f"Bearer {API_KEY}",
        "wsgi.input": body_read,
        **environ,
    }
    Gate(api.app, 1, monotonic)(whole, lambda status, *_: statuses.append(int(status[:3])))  # type: ignore[arg-type]
    return statuses[0], weakref.ref(body_read)


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "environ"),
    [
        (201, "POST", PATH, _START, {}),
        (201, "POST", PATH, _START, {"HTTP_IDEMPOTENCY_KEY": "key"}),
        (400, "POST", PATH, b"{", {}),
        (422, "POST", PATH, b"{}", {}),
        (422, "POST", PATH, b'{"number": "+7"}', {}),
        (401, "POST", PATH, _START, {"HTTP_AUTHORIZATION": ""}),
        (404, "POST", f"{PATH}/{NOBODY}/verify", b'{"code": "1234"}', {}),
        (404, "POST", "/v1/nothing", b"", {}),
        (404, "POST", "/v1/callbacks/nobody/token", b"{}", {}),
        (405, "PUT", PATH, b"", {}),
        (413, "POST", PATH, b" " * 20_000, {}),
        (415, "POST", PATH, _START, {"CONTENT_TYPE": "text/plain"}),
    ],
)
def test_nothing_is_left_of_a_request(
    api: Api, status: int, method: str, path: str, body: bytes, environ: dict[str, str]
) -> None:
    with nothing_collected():
        answer, body_read = answered(api, method, path, body, **environ)
        assert answer == status
        assert body_read() is None


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
    made = api.store.sent().id
    with nothing_collected():
        answer, body_read = answered(api, "POST", f"{PATH}/{made}/{action}", body)
        assert answer == status
        assert body_read() is None


def _refuse(*_: Any, **__: Any) -> Any:
    raise redis.ConnectionError("gone")


def _fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a defect")


@pytest.mark.parametrize(("status", "fail"), [(503, _refuse), (500, _fail)])
def test_nothing_is_left_of_a_request_that_failed(
    api: Api, monkeypatch: pytest.MonkeyPatch, status: int, fail: Callable[..., Any]
) -> None:
    monkeypatch.setattr(api.store.verifications._runner, "run", fail)
    with nothing_collected():
        answer, body_read = answered(api, "POST", PATH, _START)
        assert answer == status
        assert body_read() is None
