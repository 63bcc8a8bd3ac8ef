"""The wire contract over real HTTP: tenants, replays, rotation, numbers, broken bodies."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import httpx
import pytest

from tests.e2e.system import Caller, System, new_number


def _type(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    return response.status_code, body["type"].removeprefix("/problems/")


def test_a_foreign_verification_looks_like_an_unknown_one(shared_system: System, caller: Caller) -> None:
    number = new_number()
    id_ = caller.start(number)["id"]
    code = shared_system.sandbox.code(number)
    unknown = id_[:3] + secrets.token_urlsafe(16)
    with caller.as_other_tenant() as stranger:
        calls: list[Callable[[str], httpx.Response]] = [
            lambda id_: stranger.verify(id_, code),
            stranger.resend,
            stranger.cancel,
            lambda id_: stranger.client.get(f"/v1/verifications/{id_}"),
        ]
        for call in calls:
            foreign, absent = call(id_), call(unknown)
            assert _type(foreign) == _type(absent) == (404, "not-found")
            assert foreign.json() == absent.json()
    assert caller.verify(id_, code).status_code == 200


def test_a_replayed_idempotency_key_answers_the_first_verification(shared_system: System, caller: Caller) -> None:
    number, headers = new_number(), {"Idempotency-Key": secrets.token_hex(8)}
    first = caller.client.post("/v1/verifications", json={"number": number}, headers=headers)
    again = caller.client.post("/v1/verifications", json={"number": number}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"] == f"/v1/verifications/{first.json()['id']}"
    caller.settled(first.json()["id"])
    assert len(shared_system.sandbox.messages(number)) == 1
    with caller.as_other_tenant() as stranger:
        assert stranger.start(number, headers=headers)["id"] != first.json()["id"]


def test_a_code_sent_before_a_key_rotation_still_verifies(shared_system: System, caller: Caller) -> None:
    numbers = [new_number(), new_number()]
    ids = [caller.start(number)["id"] for number in numbers]
    codes = [shared_system.sandbox.code(number) for number in numbers]
    newest = secrets.token_urlsafe(32)
    with shared_system.serve(secret_keys=(newest, shared_system.secret_key), delivery=False) as rotated:
        assert rotated.verify(ids[0], codes[0]).status_code == 200
    with shared_system.serve(secret_keys=(newest,), delivery=False) as forgetful:
        assert _type(forgetful.verify(ids[1], codes[1])) == (503, "store-unavailable")
    assert caller.verify(ids[1], codes[1]).status_code == 200


def test_a_national_number_is_read_in_the_tenants_region(shared_system: System, caller: Caller) -> None:
    number = new_number()
    national = f"8 ({number[2:5]}) {number[5:8]}-{number[8:10]}-{number[10:]}"
    id_ = caller.start(national)["id"]
    assert caller.verify(id_, shared_system.sandbox.code(number)).status_code == 200
    with caller.as_other_tenant() as stranger:
        refused = stranger.client.post("/v1/verifications", json={"number": national})
        assert _type(refused) == (422, "invalid-request")
        assert "E.164" in refused.json()["errors"]["number"][0]


@pytest.mark.parametrize("number", ["+12025550123", "+4915112345678", "+74951234567", "+78001234567"])
def test_a_number_of_another_region_or_kind_is_refused(caller: Caller, number: str) -> None:
    assert _type(caller.client.post("/v1/verifications", json={"number": number})) == (422, "number-not-allowed")


def test_a_body_of_a_megabyte_is_refused(caller: Caller) -> None:
    body = b'{"number": "' + b"9" * 1_000_000 + b'"}'
    headers = {"Content-Type": "application/json"}
    assert _type(caller.client.post("/v1/verifications", content=body, headers=headers)) == (413, "body-too-large")
    chunked = caller.client.post("/v1/verifications", content=iter([body[:500_000], body[500_000:]]), headers=headers)
    assert _type(chunked) == (413, "body-too-large")
    assert chunked.headers["Connection"] == "close"
    assert caller.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b'{"number": NaN}', b"\xff\xfe", b'{"number": "\\ud800"}', b"[" * 10_000])
def test_broken_json_is_refused(caller: Caller, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert _type(caller.client.post("/v1/verifications", content=body, headers=headers)) == (400, "malformed-body")


def test_a_binding_must_be_repeated(shared_system: System, caller: Caller) -> None:
    number = new_number()
    id_ = caller.start(number, binding="session-1")["id"]
    code = shared_system.sandbox.code(number)
    assert _type(caller.verify(id_, code)) == (422, "incorrect-code")
    assert caller.verify(id_, code, binding="session-2").json()["attempts_left"] == 3
    assert caller.verify(id_, code, binding="session-1").status_code == 200


def test_no_key_or_a_wrong_one_is_refused_everywhere(caller: Caller) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": caller.api_key},
        {"Authorization": "Bearer"},
    ):
        with httpx.Client(base_url=caller.url, headers=headers) as nobody:
            for response in (
                nobody.post("/v1/verifications", json={"number": new_number()}),
                nobody.post(f"/v1/verifications/v00{'A' * 22}/verify", json={"code": "123456"}),
                nobody.get(f"/v1/verifications/v00{'A' * 22}"),
            ):
                assert _type(response) == (401, "unauthorized")
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
                assert (response.headers.get("Connection") == "close") == (response.request.method == "POST")
