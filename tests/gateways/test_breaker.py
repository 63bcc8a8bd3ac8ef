"""The breaker where several workers agree on who tries a gateway, under a clock that is moved."""

from __future__ import annotations

import pytest

from otpservice.delivery.breaker import Breaker
from tests.gateways.support import Clock

REST = 30.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock, REST)
    assert breaker.failed(at_once=True)
    return breaker


def test_only_the_first_send_after_a_rest_decides(opened: Breaker, clock: Clock) -> None:
    assert not opened.begin()
    clock.seconds += REST
    assert opened.begin()
    assert not opened.begin()
    assert opened.is_open


def test_a_send_that_never_reached_the_gateway_leaves_the_decision_to_another(opened: Breaker, clock: Clock) -> None:
    clock.seconds += REST
    assert opened.begin()
    opened.abandoned()
    assert opened.begin()


def test_failures_of_sends_that_were_under_way_do_not_prolong_the_rest(opened: Breaker, clock: Clock) -> None:
    clock.seconds += REST - 1
    for _ in range(10):
        assert not opened.failed(at_once=True)
    clock.seconds += 1
    assert not opened.is_open


def test_it_rests_as_long_as_it_is_told(opened: Breaker, clock: Clock) -> None:
    opened.rest(100)
    clock.seconds += 99
    assert opened.is_open
    opened.may_try(10, 5)
    assert not opened.is_open


def test_a_send_that_decides_is_not_sent_to_rest(opened: Breaker, clock: Clock) -> None:
    clock.seconds += REST
    opened.begin()
    opened.rest(100)
    assert not opened.failed()
    clock.seconds += REST
    assert not opened.is_open


def test_a_turn_ends_unused_and_only_after_hearing_nothing_it_tries_by_itself(opened: Breaker, clock: Clock) -> None:
    opened.may_try(10, 5)
    seen = []
    for step in (9.9, 0.1, 4.9, 0.1):
        clock.seconds += step
        seen.append(opened.is_open)
    assert seen == [False, True, True, False]
    assert opened.has_turn
    assert opened.begin()


def test_what_is_closed_neither_rests_nor_is_tried(clock: Clock) -> None:
    breaker = Breaker(clock, REST)
    breaker.rest(100)
    breaker.may_try(10, 5)
    assert breaker.is_closed
    assert not breaker.is_open


def test_another_worker_may_open_and_close_it(clock: Clock) -> None:
    breaker = Breaker(clock, REST)
    breaker.open(5)
    assert breaker.is_open
    breaker.close()
    assert breaker.is_closed
    assert [breaker.failed() for _ in range(5)] == [False] * 4 + [True]
