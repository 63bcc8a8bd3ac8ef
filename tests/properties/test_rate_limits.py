"""The GCRA of the scripts, against the reference in exact arithmetic.

In which sense they agree. The scripts count in whole microseconds, and so round the interval between two up:

- Where the interval is a whole number of microseconds, they agree exactly, in every answer and every wait.
- Elsewhere the scripts are the stricter by less than a microsecond for everything that they let through: what they
  let through the exact rule lets through, and what they refuse waits no longer than the exact rule says plus that.

Waits are compared as they are told, in milliseconds, rounded up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpservice.store import keys
from otpservice.store.records import Start
from otpservice.verification.errors import IncorrectCodeError, RateLimitedError
from otpservice.verification.lifecycle import Fallback
from otpservice.verification.limits import Rule
from tests.profiles import effort
from tests.properties.gcra import Gcras
from tests.properties.world import LOGIN, World

Charge = Callable[[World, tuple[Rule, ...]], int]

_NUMBER, _IP = "+79995550011", "203.0.113.9"
_START = Start(number=_NUMBER, fallback=Fallback.SMS, code_length=6)
_ROOMY = replace(LOGIN, max_backlog=1_000_000, number_rules=(), failure_rules=())
_DAY = 86_400

rules = st.builds(
    Rule,
    count=st.one_of(st.integers(1, 7), st.integers(1, 9_999_999)),
    seconds=st.one_of(st.integers(1, 100), st.sampled_from([3600, _DAY, 7 * _DAY, 366 * _DAY])),
).filter(lambda rule: rule.interval_microseconds >= 2000)  # the held clock ends keys to the millisecond
exact_rules = rules.map(lambda rule: Rule(_divisor(rule), rule.seconds))

# What comes between two requests: some time, or the moment of the next conforming one and what is just beside it.
gaps = st.one_of(
    st.just(0),
    st.integers(0, 1_000_000),
    st.integers(0, 2 * _DAY * 1_000_000),
    st.sampled_from(["freed", "a microsecond before", "a microsecond after", "just after the wait", "emptied"]),
)


def _divisor(rule: Rule) -> int:
    """The largest count up to the rule's own that makes its interval a whole number of microseconds."""
    return next(count for count in range(min(rule.count, 2000), 0, -1) if rule.seconds * 1_000_000 % count == 0)


def _by_number(world: World, limits: tuple[Rule, ...]) -> int:
    """start.lua: one more start for a number. Returns milliseconds to wait."""
    return _wait(lambda: world.verifications.start(_START, replace(_ROOMY, number_rules=limits)))


def _by_ip(world: World, limits: tuple[Rule, ...]) -> int:
    """limit.lua: one more start from an address."""
    start = replace(_START, ip=_IP)
    return _wait(lambda: world.verifications.start(start, replace(_ROOMY, ip_rules=limits, tenant_rules=())))


def _by_failure(world: World, limits: tuple[Rule, ...]) -> int:
    """verify.lua: one more wrong code for a number, each of a verification of its own."""
    policy = replace(_ROOMY, failure_rules=limits)
    id_ = world.verifications.start(_START, policy).verification.id
    code_hash = world.verifications._keyring.code_hash(id_, 1, "111111")
    world.clock.client.hset(keys.verification(0, id_), "r", f"1 {code_hash.key_id} {code_hash.digest}")
    try:
        world.verifications.verify(id_, "000000", None, policy)
    except RateLimitedError as error:
        return error.retry_after_ms
    except IncorrectCodeError:
        return 0
    raise AssertionError("neither counted nor refused")


def _wait(start: Callable[[], object]) -> int:
    try:
        start()
    except RateLimitedError as error:
        return error.retry_after_ms
    return 0


def _until(world: World, limits: Gcras, gap: int | str, told_ms: int) -> int:
    """A gap in microseconds, from now on."""
    now = world.clock.now_us
    freed = max(ceil(rule.wait(now)) for rule in limits.rules)
    emptied = max(ceil(rule.arrival - now) for rule in limits.rules)
    match gap:
        case "freed":
            return max(0, freed)
        case "a microsecond before":
            return max(0, freed - 1)
        case "a microsecond after":
            return max(0, freed + 1)
        case "just after the wait":
            return told_ms * 1000
        case "emptied":
            return max(0, emptied)
        case _:
            return int(gap)


def _after_a_burst(limits: list[Rule], waits: list[int | str]) -> list[int | str]:
    """First as many at once as a rule lets through, where that are few: nothing is close before that."""
    return [0] * min(20, *(rule.count for rule in limits)) + waits


CHARGES = pytest.mark.parametrize("charge", [_by_number, _by_ip, _by_failure])


@CHARGES
@effort(100)
@given(limits=st.lists(exact_rules, min_size=1, max_size=3), waits=st.lists(gaps, min_size=1, max_size=25))
def test_rules_of_whole_microseconds_are_kept_exactly(
    world: World, charge: Charge, limits: list[Rule], waits: list[int | str]
) -> None:
    world.reset()
    reference, told_ms = Gcras(limits), 0
    for gap in _after_a_burst(limits, waits):
        world.clock.move(_until(world, reference, gap, told_ms))
        told_ms = charge(world, tuple(limits))
        assert told_ms == reference.wait_ms(world.clock.now_us)
        if told_ms == 0:
            reference.take(world.clock.now_us)


@CHARGES
@effort(100)
@given(limits=st.lists(rules, min_size=1, max_size=3), waits=st.lists(gaps, min_size=1, max_size=25))
def test_no_rule_lets_more_through_than_it_says_nor_much_less(
    world: World, charge: Charge, limits: list[Rule], waits: list[int | str]
) -> None:
    world.reset()
    reference, told_ms, let_through = Gcras(limits), 0, 0
    for gap in _after_a_burst(limits, waits):
        world.clock.move(_until(world, reference, gap, told_ms))
        told_ms = charge(world, tuple(limits))
        now = world.clock.now_us
        exact = [rule.wait(now) for rule in reference.rules]
        # What the rounding adds to a rule's interval, for each that was let through.
        later = [
            let_through * (rule.interval_microseconds - Fraction(rule.seconds * 1_000_000, rule.count))
            for rule in limits
        ]
        assert max(_told(wait) for wait in exact) <= told_ms
        assert told_ms <= max(_told(wait + more) for wait, more in zip(exact, later, strict=True))
        if told_ms == 0:
            reference.take(now)
            let_through += 1


def _told(wait: Fraction) -> int:
    """Microseconds as they are told: in whole milliseconds, rounded up."""
    return ceil(max(wait, Fraction(0)) / 1000)


@CHARGES
@effort(100)
@given(
    limits=st.lists(exact_rules, min_size=1, max_size=3),
    state=st.lists(st.integers(0, 2**53), max_size=4),
    back=st.integers(0, 400 * _DAY * 1_000_000),
)
def test_whatever_state_is_found_nobody_waits_longer_than_for_one(
    world: World, charge: Charge, limits: list[Rule], state: list[int], back: int
) -> None:
    """The list of rules was changed, or the clock was set back: at worst the burst is used up."""
    world.reset()
    charge(world, tuple(limits))
    client, text = world.clock.client, " ".join(map(str, state))
    for key in client.scan_iter("otp:*"):
        if any(kind in key for kind in (":n:", ":f:", ":ip:")):
            client.set(key, text)
    world.clock.move(-back)
    told_ms = charge(world, tuple(limits))
    assert told_ms <= max(ceil(rule.interval_microseconds / 1000) for rule in limits)


@effort(100)
@given(limits=st.lists(exact_rules, min_size=1, max_size=3), waits=st.lists(gaps, min_size=1, max_size=10))
def test_a_state_stays_as_long_as_it_means_anything_and_no_longer(
    world: World, limits: list[Rule], waits: list[int | str]
) -> None:
    world.reset()
    reference = Gcras(limits)
    for gap in waits:
        world.clock.move(_until(world, reference, gap, 0))
        if _by_number(world, tuple(limits)) == 0:
            reference.take(world.clock.now_us)
        [end] = [end for key, end in world.clock.ends().items() if ":n:" in key]
        empty = max(rule.arrival for rule in reference.rules) / 1000
        assert floor(empty) <= end <= ceil(empty)


def test_redis_s_own_clock_decides(world: World) -> None:
    """The one word of the scripts that the held clock replaces: as they are, they read TIME."""
    world.reset()
    with world.by_its_own_clock() as verifications:
        before = world.clock.client.time()
        created = verifications.start(_START, _ROOMY).verification.created_at
        after = world.clock.client.time()
    earliest, latest = (int(seconds) * 1000 + int(microseconds) // 1000 for seconds, microseconds in (before, after))
    assert earliest <= created <= latest
