"""A route of two gateways, through the real server: which one a code comes from when the first fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.scripted import Scripted
from tests.e2e.system import Caller, System, new_number, system, wait_until

ROUTE = ("first", "mobilgroup")


@pytest.fixture(scope="module")
def first() -> Iterator[Scripted]:
    with Scripted() as scripted:
        yield scripted


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("gateways")) as made:
        yield made


@pytest.fixture(scope="module")
def running(parts: System, first: Scripted) -> Iterator[Caller]:
    with parts.serve(route=ROUTE, gateways=first.settings("first"), breaker_rest=1) as caller:
        yield caller


@pytest.fixture
def caller(running: Caller, first: Scripted) -> Iterator[Caller]:
    """A service whose first gateway works, again after the test too."""
    yield running
    first.mode = "ok"
    wait_until(lambda: sent_by(running, new_number()) == "first", "the first gateway to be used again")


def sent_by(caller: Caller, number: str) -> str | None:
    gateway: str | None = caller.settled(caller.start(number)["id"])["gateway"]
    return gateway


@pytest.mark.parametrize(
    "mode",
    [
        "hang",
        "reset",
        "http 500",
        "html",
        "number_not_permitted",
        "not_enough_money",
        "user_disabled",
        "authorisation_failed",
        "some_new_error",
    ],
)
def test_where_the_first_gateway_fails_the_second_delivers_the_same_code(
    caller: Caller, parts: System, first: Scripted, mode: str
) -> None:
    first.mode = mode
    number = new_number()
    id_ = caller.start(number)["id"]
    delivery = caller.settled(id_)
    assert (delivery["state"], delivery["gateway"]) == ("delivered", "mobilgroup")
    [message] = parts.sandbox.messages(number)
    assert first.codes(number) == {message["code"]}
    assert caller.verify(id_, message["code"]).status_code == 200


@pytest.mark.parametrize("error", ["number_not_valid", "number_in_spam_list", "code_not_correct"])
def test_where_the_number_or_the_request_is_refused_no_second_gateway_is_asked(
    caller: Caller, parts: System, first: Scripted, error: str
) -> None:
    first.mode = error
    number = new_number()
    delivery = caller.settled(caller.start(number)["id"])
    assert (delivery["state"], delivery["reason"], delivery["gateway"]) == ("failed", error, "first")
    assert parts.sandbox.messages(number) == []


def test_where_both_fail_the_second_says_why(caller: Caller, first: Scripted) -> None:
    first.mode = "http 500"
    delivery = caller.settled(caller.start(new_number("81"))["id"])
    assert (delivery["state"], delivery["reason"]) == ("failed", "number_not_permitted")


def test_a_late_failure_of_the_first_gateway_does_not_undo_the_second_s_success(
    caller: Caller, first: Scripted
) -> None:
    first.mode = "hang"
    number = new_number()
    id_ = caller.start(number)["id"]
    before = caller.settled(id_)
    assert (before["state"], before["gateway"]) == ("delivered", "mobilgroup")
    [request] = [request for request in first.requests if request["number"] == number[1:]]
    report = {"request_id": "x", "number": number[1:], "code": request["code"], "price": "0.00", "date": "?"}
    response = httpx.post(request["callback_url"], json=report | {"state": "not_delivered"})
    assert response.status_code == 204
    assert caller.get(id_)["delivery"] == before


def test_numbers_that_only_the_first_gateway_does_not_reach_do_not_close_it_to_others(
    caller: Caller, first: Scripted
) -> None:
    first.mode = "number_not_permitted"
    for _ in range(7):
        assert sent_by(caller, new_number()) == "mobilgroup"
    first.mode = "ok"
    assert sent_by(caller, new_number()) == "first"


def test_a_gateway_that_keeps_failing_is_left_alone_and_found_again(
    caller: Caller, parts: System, first: Scripted
) -> None:
    first.mode = "user_disabled"
    assert sent_by(caller, new_number()) == "mobilgroup"
    asked = len(first.requests)
    assert sent_by(caller, new_number()) == "mobilgroup"
    assert len(first.requests) == asked
    assert "gateway-account-refused" in parts.logs
    first.mode = "ok"
    wait_until(lambda: sent_by(caller, new_number()) == "first", "the first gateway to be tried again")
    assert "gateway-breaker-closed" in parts.logs


def test_workers_share_what_they_know_of_a_gateway(tmp_path: Path) -> None:
    """One worker finds out, both leave it alone, one of them tries it at a time, both use it again."""
    rest_seconds = 2
    with system(tmp_path) as parts, Scripted("not_enough_money") as first:
        settings = {"route": ROUTE, "gateways": first.settings("first"), "breaker_rest": rest_seconds}
        with (
            parts.serve(**settings, delivery=False) as caller,
            parts.worker(**settings),
            parts.worker(**settings),
        ):
            workers = slice(1, 3)
            wait_until(lambda: all("worker-started" in log for log in parts.logs_by_process[workers]), "two workers")
            assert sent_by(caller, new_number()) == "mobilgroup"
            wait_until(
                lambda: all(
                    "gateway-account-refused" in log or "another worker says so" in log
                    for log in parts.logs_by_process[workers]
                ),
                "both workers to know",
            )
            assert len(first.requests) == 1

            def tries() -> int:
                assert sent_by(caller, new_number()) == "mobilgroup"
                return len(first.requests)

            wait_until(lambda: tries() >= 4, "three tries")
            gaps = [later - earlier for earlier, later in zip(first.times, first.times[1:], strict=False)]
            assert min(gaps) > rest_seconds * 0.7, gaps

            first.mode = "ok"
            wait_until(lambda: sent_by(caller, new_number()) == "first", "the gateway to be tried again")
            wait_until(
                lambda: all("gateway-breaker-closed" in log for log in parts.logs_by_process[workers]),
                "both workers to use it again",
            )
            assert {sent_by(caller, new_number()) for _ in range(10)} == {"first"}
