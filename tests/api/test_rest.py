"""Resend, cancel, get."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from otpservice.verification.lifecycle import Status
from otpservice.verification.limits import Rule
from tests.support.api import PATH, Api, good, problem
from tests.support.policies import OTHER_NUMBER
from tests.support.store import DELIVERED, ENDS, FAILED, Store


def test_a_resend_is_accepted(api: Api) -> None:
    made = api.store.sent()
    api.store.age(30)
    body = good(api.post(f"{PATH}/{made.id}/resend"), 202)
    assert (body["id"], body["status"], body["sends_left"]) == (made.id, "pending", 1)
    assert body["delivery"]["state"] == "queued"
    problem(api.verify(made), 409, "code-not-sent")


@pytest.mark.parametrize(("body", "fallback"), [(None, "sms"), ({}, "sms"), ({"fallback": "voice"}, "voice")])
def test_a_resend_may_change_the_fallback(api: Api, body: Any, fallback: str) -> None:
    made = api.store.sent()
    api.store.age(30)
    assert good(api.post(f"{PATH}/{made.id}/resend", body), 202)["fallback"] == fallback


def test_a_resend_too_soon_says_when(api: Api) -> None:
    made = api.store.sent()
    api.store.age(9.5)
    response = api.post(f"{PATH}/{made.id}/resend")
    problem(response, 409, "too-soon")
    assert response.headers["Retry-After"] == "21"  # 20.5 s less a moment, rounded up


def test_a_resend_may_be_asked_for_at_the_time_that_was_told(api: Api) -> None:
    body = good(api.start(), 201)
    wait = (datetime.fromisoformat(body["resend_at"]) - datetime.fromisoformat(body["created_at"])).total_seconds()
    api.store.age(wait)
    good(api.post(f"{PATH}/{body['id']}/resend"), 202)


def test_when_no_sends_are_left_it_says_so(api: Api) -> None:
    made = api.store.sent()
    for _ in range(2):
        api.store.age(30)
        body = good(api.post(f"{PATH}/{made.id}/resend"), 202)
    assert (body["sends_left"], body["resend_at"]) == (0, None)
    api.store.age(30)
    response = api.post(f"{PATH}/{made.id}/resend")
    problem(response, 409, "no-sends-left")
    assert "Retry-After" not in response.headers


def test_a_resend_is_limited_as_a_start_is(valkey_store: Store) -> None:
    store = valkey_store.under(number_rules=(Rule(1, 3600),))
    made = store.start().verification
    store.age(30)
    response = Api(store).post(f"{PATH}/{made.id}/resend")
    assert problem(response, 429, "rate-limited")["limit"] == "number"
    assert response.headers["Retry-After"] == "3570"


def test_a_resend_is_refused_when_too_many_sends_wait(valkey_store: Store) -> None:
    store = valkey_store.under(max_backlog=0)
    made = store.start().verification
    store.age(30)
    response = Api(store).post(f"{PATH}/{made.id}/resend")
    problem(response, 503, "overloaded")
    assert response.headers["Retry-After"] == "5"


def test_a_cancelled_verification_stays_so(api: Api) -> None:
    made = api.store.sent()
    first = good(api.post(f"{PATH}/{made.id}/cancel"))
    assert (first["id"], first["status"]) == (made.id, "cancelled")
    assert good(api.post(f"{PATH}/{made.id}/cancel", {})) == first
    problem(api.verify(made), 410, "cancelled")


@pytest.mark.parametrize("status", set(ENDS) - {Status.CANCELLED})
def test_what_ended_otherwise_is_not_cancelled(api: Api, status: Status) -> None:
    made = api.store.sent()
    api.store.end(made, status)
    problem(api.post(f"{PATH}/{made.id}/cancel"), 410, status)


def test_get_shows_the_delivery(api: Api) -> None:
    made = api.store.sent()
    api.store.settle(made, DELIVERED)
    assert good(api.get(f"{PATH}/{made.id}"))["delivery"] == {
        "state": "delivered",
        "channel": "telegram",
        "reason": None,
        "price": "1.50",
        "gateway": "mobilgroup",
    }


def test_get_shows_why_a_delivery_failed(api: Api) -> None:
    made = api.store.sent()
    api.store.settle(made, FAILED)
    body = good(api.get(f"{PATH}/{made.id}"))
    assert (body["status"], body["delivery"]["reason"]) == ("pending", "not_delivered")


@pytest.mark.parametrize("status", ENDS)
def test_get_shows_how_it_ended(api: Api, status: Status) -> None:
    made = api.store.sent(OTHER_NUMBER)
    api.store.end(made, status)
    body = good(api.get(f"{PATH}/{made.id}"))
    assert (body["status"], body["number"], body["resend_at"]) == (status, "+7999*****21", None)


def test_an_ended_verification_is_forgotten_after_the_retention(api: Api) -> None:
    made = api.store.sent()
    api.store.cancel(made)
    api.store.age(900)
    problem(api.get(f"{PATH}/{made.id}"), 404, "not-found")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("resend", {"fallback": "pigeon"}, "fallback"),
        ("resend", {"fallback": None}, "fallback"),
        ("resend", {"code_length": 6}, "code_length"),
        ("cancel", {"reason": "why"}, "reason"),
    ],
)
def test_a_body_that_is_not_as_it_should_be_changes_nothing(
    api: Api, path: str, body: dict[str, Any], field: str
) -> None:
    made = api.store.sent()
    api.store.age(30)
    before = api.store.dump()
    found = problem(api.post(f"{PATH}/{made.id}/{path}", body), 422, "invalid-request")
    assert found["errors"].keys() == {field}
    assert api.store.dump() == before
