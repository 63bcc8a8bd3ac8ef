"""With Redis stopped, hanging or without its scripts: 503 in time, the state as it was, and back by itself."""

from __future__ import annotations

import signal
from collections.abc import Callable

import httpx
import pytest

from tests.e2e.system import Caller, System, new_number, wait_until

PROMISED_SECONDS = 2.0


def _assert_unavailable(caller: Caller, id_: str, code: str) -> None:
    """Every endpoint says so, each within two seconds."""
    calls: list[Callable[[httpx.Client], httpx.Response]] = [
        lambda client: client.post(f"/v1/verifications/{id_}/verify", json={"code": code}),
        lambda client: client.post("/v1/verifications", json={"number": new_number()}),
        lambda client: client.post(f"/v1/verifications/{id_}/resend"),
        lambda client: client.post(f"/v1/verifications/{id_}/cancel"),
        lambda client: client.get(f"/v1/verifications/{id_}", headers={"Prefer": "wait=5"}),
        lambda client: client.get("/readyz"),
    ]
    headers = {"Authorization": f"Bearer {caller.api_key}"}
    with httpx.Client(base_url=caller.url, headers=headers, timeout=PROMISED_SECONDS) as client:
        for call in calls:
            response = call(client)
            assert (response.status_code, response.json()["type"]) == (503, "/problems/store-unavailable")
            assert int(response.headers["Retry-After"]) >= 1
        assert client.get("/healthz").status_code == 200


def test_a_stopped_redis_is_503_and_the_service_comes_back_without_a_restart(own_system: System) -> None:
    number = new_number()
    with own_system.serve() as caller:
        id_ = caller.start(number)["id"]
        caller.settled(id_)
        code = own_system.sandbox.code(number)
        own_system.valkey.stop()
        _assert_unavailable(caller, id_, code)
        own_system.valkey.start()
        wait_until(lambda: caller.client.get("/readyz").status_code == 200, "the service to be back")
        assert caller.get(id_)["attempts_left"] == 5
        assert caller.verify(id_, code).status_code == 200
        later = new_number()
        id_ = caller.start(later)["id"]
        caller.settled(id_)
        assert caller.verify(id_, own_system.sandbox.code(later)).status_code == 200


def test_a_redis_that_hangs_is_503_within_two_seconds(own_system: System) -> None:
    number = new_number()
    with own_system.serve() as caller:
        id_ = caller.start(number)["id"]
        caller.settled(id_)
        code = own_system.sandbox.code(number)
        before = own_system.valkey.client().hgetall(f"otp:{{0}}:v:{id_}")
        own_system.valkey.signal(signal.SIGSTOP)
        try:
            _assert_unavailable(caller, id_, code)
        finally:
            own_system.valkey.signal(signal.SIGCONT)
        wait_until(lambda: caller.client.get("/readyz").status_code == 200, "the service to be back")
        # Redis has read by now what it was sent while it hung, and has done none of it: the callers were told so.
        assert own_system.valkey.client().hgetall(f"otp:{{0}}:v:{id_}") == before
        assert own_system.valkey.client().xlen("otp:{0}:outbox") == 0
        assert caller.verify(id_, code).status_code == 200
        later = new_number()
        id_ = caller.start(later)["id"]
        caller.settled(id_)
        assert caller.verify(id_, own_system.sandbox.code(later)).status_code == 200


@pytest.mark.parametrize("command", [("REPLICAOF", "127.0.0.1", "1"), ("CONFIG", "SET", "maxmemory", "1")])
def test_a_redis_that_takes_no_writes_verifies_nothing(own_system: System, command: tuple[str, ...]) -> None:
    number = new_number()
    with own_system.serve() as caller:
        id_ = caller.start(number)["id"]
        caller.settled(id_)
        code = own_system.sandbox.code(number)
        client = own_system.valkey.client()
        before = client.hgetall(f"otp:{{0}}:v:{id_}")
        client.execute_command(*command)  # type: ignore[no-untyped-call]
        for answer in (caller.verify(id_, code), caller.client.get("/readyz")):
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-unavailable")
        assert client.hgetall(f"otp:{{0}}:v:{id_}") == before
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", "0")
        assert caller.verify(id_, code).status_code == 200


def test_a_start_while_no_worker_lives_is_sent_by_the_next(own_system: System) -> None:
    number = new_number()
    with own_system.serve(delivery=False) as caller:
        id_ = caller.start(number)["id"]
        early = caller.verify(id_, "000000")
        assert (early.status_code, early.json()["type"]) == (409, "/problems/code-not-sent")
        with own_system.worker():
            caller.settled(id_)
        assert caller.verify(id_, own_system.sandbox.code(number)).status_code == 200


def test_too_few_replicas_verify_nobody_and_the_caller_is_told_that_the_code_may_be_used_up(own_system: System) -> None:
    number = new_number()
    own_system.redis_settings = "min_replicas_ack = 1"
    with own_system.serve() as caller:
        id_ = caller.start(number)["id"]
        caller.settled(id_)
        with httpx.Client(base_url=caller.url, headers=caller.client.headers, timeout=PROMISED_SECONDS) as client:
            answer = client.post(f"/v1/verifications/{id_}/verify", json={"code": own_system.sandbox.code(number)})
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-unavailable")
        assert answer.json()["detail"] == "Nothing was verified, but the code or an attempt may be used up."
        assert caller.get(id_)["status"] == "verified"  # used up; the caller never heard of a success
