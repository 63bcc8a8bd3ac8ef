"""The breaker: closed, open, half-open, under a clock that is moved."""

from __future__ import annotations

from otpservice.delivery.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    assert breaker.failed(at_once=True)
    return breaker


def test_it_begins_closed() -> None:
    assert not Breaker(Clock()).is_open


def test_it_opens_after_five_failures_in_a_row() -> None:
    breaker = Breaker(Clock())
    assert [breaker.failed() for _ in range(5)] == [False] * 4 + [True]
    assert breaker.is_open


def test_a_success_between_failures_starts_the_count_anew() -> None:
    breaker = Breaker(Clock())
    for _ in range(20):
        breaker.failed()
        breaker.failed()
        breaker.failed()
        breaker.failed()
        assert not breaker.succeeded()
    assert not breaker.is_open


def test_it_opens_at_once_where_the_next_send_would_surely_fail() -> None:
    assert opened(Clock()).is_open


def test_it_says_once_that_it_opened() -> None:
    breaker = opened(Clock())
    assert not breaker.failed()
    assert not breaker.failed(at_once=True)


def test_after_half_a_minute_one_send_may_try() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.seconds += 29.9
    assert breaker.is_open
    clock.seconds += 0.1
    breaker.begin()
    clock.seconds += 3600
    assert breaker.is_open  # until the one that tries has an answer


def test_it_closes_when_the_one_that_tries_gets_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.seconds += 30
    breaker.begin()
    assert breaker.succeeded()
    assert not breaker.is_open
    assert not breaker.succeeded()
    assert [breaker.failed() for _ in range(4)] == [False] * 4


def test_it_opens_again_for_as_long_when_the_one_that_tries_fails() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.seconds += 30
    breaker.begin()
    assert not breaker.failed()
    assert breaker.is_open
    clock.seconds += 29.9
    assert breaker.is_open
    clock.seconds += 0.1
    assert not breaker.is_open


def test_beginning_on_a_closed_breaker_changes_nothing() -> None:
    breaker = Breaker(Clock())
    breaker.begin()
    assert not breaker.is_open
    assert not breaker.failed()
