"""``Prefer: wait=N`` (RFC 7240): the answer is held until something happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest
from werkzeug.test import TestResponse

from otpservice.store.verifications import Verifications
from otpservice.verification.lifecycle import Verification
from tests.support.api import PATH, Api, good, problem
from tests.support.store import DELIVERED, FAILED, Store, key_of
from tests.support.waiting import until


def waiting(api: Api, made: Verification, prefer: str = "wait=20") -> Callable[[], TestResponse]:
    return lambda: api.get(f"{PATH}/{made.id}", headers={"Prefer": prefer})


def waits(api: Api, made: Verification, count: int = 1) -> bool:
    [(_, listeners)] = api.store.client.pubsub_numsub(key_of(made))
    return int(listeners) == count


@pytest.mark.parametrize(
    ("event", "status", "state"),
    [
        (lambda store, made: store.settle(made, DELIVERED), "pending", "delivered"),
        (lambda store, made: store.settle(made, FAILED), "pending", "failed"),
        (Store.cancel, "cancelled", "sending"),
    ],
)
def test_the_answer_comes_the_moment_that_something_happens(
    api: Api, event: Callable[[Store, Verification], Any], status: str, state: str
) -> None:
    made = api.store.sent()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(waiting(api, made))
        until(lambda: waits(api, made))
        began = time.monotonic()
        event(api.store, made)
        response = answer.result()
    assert time.monotonic() - began < 1
    body = good(response)
    assert (body["status"], body["delivery"]["state"]) == (status, state)
    assert response.headers["Preference-Applied"] == "wait=20"


def test_the_answer_comes_when_the_time_is_over(api: Api) -> None:
    made = api.store.sent()
    began = time.monotonic()
    response = waiting(api, made, "wait=1")()
    assert 1 <= time.monotonic() - began < 2
    assert good(response)["delivery"]["state"] == "sending"
    assert response.headers["Preference-Applied"] == "wait=1"


def test_what_is_settled_is_answered_at_once(api: Api) -> None:
    made = api.store.sent()
    api.store.settle(made, DELIVERED)
    began = time.monotonic()
    assert waiting(api, made, "wait=30")().headers["Preference-Applied"] == "wait=30"
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=7", 7),
        ("wait=0", 0),
        ("wait=30", 30),
        ("wait=31", 30),
        ("wait=99999", 30),
        ('wait="7"', 7),
        ("Wait=7", 7),
        ("wait = 7", 7),
        ("respond-async, wait=7", 7),
        ("handling=lenient,wait=7", 7),
    ],
)
def test_the_wait_is_as_long_as_asked_and_no_longer_than_half_a_minute(api: Api, prefer: str, seconds: int) -> None:
    made = api.store.sent()
    with mock.patch.object(Verifications, "wait", autospec=True, return_value=api.store.get(made)) as wait:
        response = waiting(api, made, prefer)()
    assert wait.call_args.args[3] == seconds
    assert response.headers["Preference-Applied"] == f"wait={seconds}"


@pytest.mark.parametrize(
    "prefer",
    ["", "wait", "wait=", "wait=-1", "wait=1.5", "wait=soon", "wait=\u0661", "await=5", "wait=1e3", "return=minimal"],
)
def test_a_preference_that_makes_no_sense_is_ignored(api: Api, prefer: str) -> None:
    made = api.store.sent()
    began = time.monotonic()
    response = waiting(api, made, prefer.encode().decode("latin-1"))()
    assert time.monotonic() - began < 1
    good(response)
    assert "Preference-Applied" not in response.headers


def test_no_more_than_a_share_of_the_threads_waits(valkey_store: Store) -> None:
    api = Api(valkey_store, max_waiters=2)
    made = valkey_store.sent()
    with ThreadPoolExecutor() as pool:
        held: list[Future[TestResponse]] = [pool.submit(waiting(api, made)) for _ in range(2)]
        until(lambda: waits(api, made, 2))
        began = time.monotonic()
        past = waiting(api, made)()
        assert time.monotonic() - began < 1
        valkey_store.settle(made, DELIVERED)
        answers = [answer.result() for answer in held]
    assert good(past)["delivery"]["state"] == "sending"
    assert "Preference-Applied" not in past.headers
    assert all(answer.headers["Preference-Applied"] == "wait=20" for answer in answers)
    # And there is room again for others.
    other = valkey_store.sent()
    assert "Preference-Applied" in waiting(api, other, "wait=0")().headers


def test_a_wait_that_fails_gives_its_place_back(valkey_store: Store) -> None:
    api = Api(valkey_store, max_waiters=1)
    made = valkey_store.sent()
    with mock.patch.object(Verifications, "wait", side_effect=RuntimeError):
        for _ in range(3):
            problem(waiting(api, made)(), 500, "internal-error")
    assert "Preference-Applied" in waiting(api, made, "wait=0")().headers


def test_an_unknown_verification_is_not_waited_for(api: Api) -> None:
    began = time.monotonic()
    problem(api.get(f"{PATH}/v00{'a' * 22}", headers={"Prefer": "wait=20"}), 404, "not-found")
    assert time.monotonic() - began < 1
