"""Our scripts, called straight at Redis by redis-benchmark: what they cost where nothing else wants the processor.

Each command is one that the store has sent, with what would make the next one another command put in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bench import parts, scripts, seeding
from bench.errors import BenchError
from bench.load import CONNECTIONS, RANDOM_DIGITS, run_redis_benchmark
from otpservice.store.records import Start
from otpservice.store.verifications import Verifications
from otpservice.verification.errors import IncorrectCodeError
from otpservice.verification.lifecycle import Fallback
from otpservice.verification.limits import Rule

_CALLS_A_SECOND = 20_000  # so many calls are made for each second wanted
_NEVER_USED_UP = 1_000_000_000
_NEVER_TOO_LATE = 2**53 - 1
_NEVER_LIMITED = Rule(1_000_000, 1)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a script: calls a second, as seen from outside, and how long each took inside of Redis."""

    a_second: float
    microseconds_each: float


def verify(seconds: int) -> Cost:
    """Wrong codes for one verification, each with all that the script does."""
    with parts.valkey() as server, parts.settings(server.url) as made, seeding.seeds(made) as defaults:
        policy = replace(defaults.policy, max_attempts=_NEVER_USED_UP, failure_rules=(_NEVER_LIMITED,))
        seeds = replace(defaults, policy=policy)
        ids = seeds.pending(seeding.numbers(1))
        store = Verifications(seeds.client, seeds.keyring, partitions=1)

        def fail() -> None:
            with suppress(IncorrectCodeError):
                store.verify(ids[0], seeding.WRONG_CODE, None, policy)

        command = _command(server, fail)
        before = seeds.attempts_used(ids)
        cost = _call(server, seeds, command, seconds)
        _check(seeds.attempts_used(ids) - before, seconds)
    return cost


def start(seconds: int) -> Cost:
    """Verifications of numbers and with Idempotency-Keys that have not been used before."""
    with parts.valkey() as server, parts.settings(server.url) as made, seeding.seeds(made) as seeds:
        policy = replace(seeds.policy, max_backlog=10**9)
        store = Verifications(seeds.client, seeds.keyring, partitions=1)
        numbers = iter(seeding.numbers(2))

        def begin() -> None:
            store.start(Start(next(numbers), Fallback.SMS, 6, idempotency_key="bench"), policy)

        command = _command(server, begin)
        seeds.client.flushdb()
        cost = _call(server, seeds, _varied(command), seconds)
        made_in_all = len(list(seeds.client.scan_iter("otp:*:v:*", count=10_000)))
        _check(made_in_all, seconds, twice=made_in_all // 1000)  # what is random may come again
    return cost


def _command(server: parts.Valkey, act: Callable[[], None]) -> list[str]:
    """What ``act`` sends to Redis, once Redis knows the script."""
    act()
    command = [word.decode() for word in scripts.commands_during(server.port, act)[-1]]
    # The last argument is the latest time to begin, by Redis's clock.
    return [*command[:-1], str(_NEVER_TOO_LATE)]


def _varied(command: Sequence[str]) -> list[str]:
    """A start of another verification, number and Idempotency-Key each time: the ends of their names are random."""
    names = [key.rpartition(":")[2] for key in (command[3], command[4], command[6])]
    for name in names:
        command = [word.replace(name, name[: -len(RANDOM_DIGITS)] + RANDOM_DIGITS) for word in command]
    return list(command)


def _call(server: parts.Valkey, seeds: seeding.Seeds, command: Sequence[str], seconds: int) -> Cost:
    scripts.reset(seeds.client)
    a_second = run_redis_benchmark(server.port, command, seconds * _CALLS_A_SECOND, seconds)
    return Cost(a_second, scripts.script_calls(seeds.client).microseconds_each)


def _check(done: int, seconds: int, *, twice: int = 0) -> None:
    """Raises BenchError where not all calls did what they should, up to so many that may have been made ``twice``."""
    count = seconds * _CALLS_A_SECOND
    if not count - twice <= done <= count + CONNECTIONS:  # the tool sends a few more than it counts
        raise BenchError(f"{count} scripts were called, {done} did what they should")
