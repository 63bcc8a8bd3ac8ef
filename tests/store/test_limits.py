"""The rate limits in Lua do exactly what exact arithmetic says, and lock nobody out.

Most of it runs on fakeredis with a clock of its own: a limit is only logic, and the clock has to stand still.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from unittest import mock

import fakeredis
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from otpservice.store import scripts
from otpservice.verification.limits import Rule
from tests.support.redis import age

KEY = "otp:tenant:login"
NOW = 1_795_450_000_000_000  # microseconds


@dataclass
class Clock:
    """What fakeredis takes for the time, in microseconds."""

    microseconds: int = NOW

    def __call__(self) -> float:
        # A quarter of a microsecond is more than a float of today's time can be off.
        return float(Fraction(self.microseconds) / 1_000_000)


class Reference:
    """GCRA as its definition has it, in exact arithmetic: one theoretical arrival time for each rule."""

    def __init__(self, rules: list[Rule]) -> None:
        self._intervals = [Fraction(rule.interval_microseconds) for rule in rules]
        self._windows = [Fraction(rule.count * rule.interval_microseconds) for rule in rules]
        self._arrivals = [Fraction(0) for _ in rules]

    def ask(self, now: int) -> int:
        """Milliseconds to wait, 0 where it was let through and charged."""
        after = [
            max(arrival, Fraction(now)) + step for arrival, step in zip(self._arrivals, self._intervals, strict=True)
        ]
        wait = max(then - window - now for then, window in zip(after, self._windows, strict=True))
        if wait > 0:
            return int(-(-wait // 1000))
        self._arrivals = after
        return 0


def ask(client: redis.Redis, *rules: Rule) -> int:
    """One more, please: milliseconds to wait, or 0."""
    arguments: list[int] = [len(rules)]
    for rule in rules:
        arguments += [rule.count, rule.interval_microseconds]
    reply: list[Any] = client.eval(scripts.LIMIT.source, 1, KEY, *arguments, 2**53)
    return int(reply[1]) if reply[0] == "rate-limited" else 0


@pytest.fixture
def fake() -> Iterator[redis.Redis]:
    with fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True) as client:
        yield client


@pytest.fixture
def clock() -> Iterator[Clock]:
    moved = Clock()
    with mock.patch.object(time, "time", moved):
        yield moved


@settings(max_examples=60, deadline=None)
@given(
    rules=st.lists(st.builds(Rule, st.integers(1, 50), st.integers(1, 100_000)), min_size=1, max_size=3),
    pauses=st.lists(st.one_of(st.integers(0, 5_000), st.integers(0, 10**8), st.integers(0, 10**11)), max_size=20),
)
def test_the_limits_are_exact(rules: list[Rule], pauses: list[int]) -> None:
    clock, reference = Clock(), Reference(rules)
    with (
        mock.patch.object(time, "time", clock),
        fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True) as client,
    ):
        for pause in pauses:
            clock.microseconds += pause
            assert ask(client, *rules) == reference.ask(clock.microseconds)


def test_a_burst_is_let_through_and_then_one_each_interval(fake: redis.Redis, clock: Clock) -> None:
    rule = Rule(5, 3600)
    assert [ask(fake, rule) for _ in range(5)] == [0] * 5
    assert ask(fake, rule) == 720_000
    clock.microseconds += 720_000_000 - 1
    assert ask(fake, rule) == 1
    clock.microseconds += 1
    assert ask(fake, rule) == 0
    assert ask(fake, rule) == 720_000


def test_whoever_waits_as_long_as_told_is_let_through(fake: redis.Redis, clock: Clock) -> None:
    rule = Rule(7, 1)  # an interval that is no whole number of microseconds
    for _ in range(30):
        wait = ask(fake, rule)
        if wait:
            clock.microseconds += wait * 1000
            assert ask(fake, rule) == 0


def test_a_refusal_charges_none_of_the_rules(fake: redis.Redis, clock: Clock) -> None:
    narrow, wide = Rule(1, 60), Rule(3, 3600)
    assert ask(fake, wide, narrow) == 0
    before = fake.get(KEY)
    for _ in range(10):
        assert ask(fake, wide, narrow) == 60_000
    assert fake.get(KEY) == before
    clock.microseconds += 60_000_000
    assert ask(fake, wide, narrow) == 0


def test_the_longest_wait_of_all_rules_is_told(fake: redis.Redis, clock: Clock) -> None:
    assert ask(fake, Rule(1, 60), Rule(1, 3600), Rule(1, 600)) == 0
    assert ask(fake, Rule(1, 60), Rule(1, 3600), Rule(1, 600)) == 3_600_000


def test_the_state_goes_away_when_it_says_nothing_any_more(fake: redis.Redis, clock: Clock) -> None:
    rules = (Rule(5, 3600), Rule(10, 86400))
    ask(fake, *rules)
    assert fake.pttl(KEY) == 8_640_000
    ask(fake, *rules)
    assert fake.pttl(KEY) == 2 * 8_640_000
    clock.microseconds += 2 * 8_640_000_000 + 1000  # fakeredis keeps a key to the end of its last millisecond
    assert not fake.exists(KEY)


def test_a_clock_that_was_ahead_locks_nobody_out_for_longer_than_a_rule(fake: redis.Redis, clock: Clock) -> None:
    rule = Rule(5, 3600)
    clock.microseconds += 10 * 365 * 86_400_000_000
    for _ in range(5):
        ask(fake, rule)
    clock.microseconds = NOW
    assert ask(fake, rule) == 720_000
    clock.microseconds += 720_000_000
    assert ask(fake, rule) == 720_000  # a refusal writes nothing, so it is clipped anew


def test_after_a_change_of_rules_nobody_waits_longer_than_the_new_one_asks(fake: redis.Redis, clock: Clock) -> None:
    assert [ask(fake, Rule(1, 86400)) for _ in range(2)] == [0, 86_400_000]
    assert ask(fake, Rule(10, 60)) == 6_000


def test_a_rule_that_was_added_starts_empty(fake: redis.Redis, clock: Clock) -> None:
    assert ask(fake, Rule(100, 60)) == 0
    assert [ask(fake, Rule(100, 60), Rule(2, 60)) for _ in range(3)] == [0, 0, 30_000]


def test_the_limits_hold_on_real_valkey_too(client: redis.Redis) -> None:
    rule = Rule(3, 3600)
    assert [ask(client, rule) for _ in range(3)] == [0, 0, 0]
    wait = ask(client, rule)
    assert 1_199_000 < wait <= 1_200_000
    age(client, wait / 1000)
    assert [ask(client, rule) > 0 for _ in range(2)] == [False, True]
