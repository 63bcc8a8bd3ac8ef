"""One worker, from the outbox to the gateway: one that answers at once, and one that takes its time.

The steady state is from the arrival of the first tenth of all sends to that of nine tenths. At a slow gateway sends
come in waves of ``max_in_flight``; ten waves are sent, so that the steady state is eight whole ones.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from statistics import median

import psutil

from bench import parts, seeding
from bench.delivery import RunningGateway, gateway
from bench.errors import BenchError
from bench.measure import Measure, Options, Row, Sample, Target, afresh, at_least, at_most, of

NAME = "deliver"
LEAST_A_SECOND = 2500
LEAST_SHARE = 0.9  # of max_in_flight a second, at a gateway of one second
MOST_MEGABYTES = 150
_WAVES = 10
_BACKLOG = 1_000_000
_DEADLINE_SECONDS = 120  # the longest that settings allow
_MOST_SECONDS = 110
_PAUSE_SECONDS = 0.1  # between two looks, which cost what is measured a little
_INSTANT = "instant"
_MEGABYTE = 1_000_000


def _run(options: Options) -> Sample:
    sample = _deliver(_INSTANT, options.codes, delay=0.0, max_in_flight=200)
    for max_in_flight in options.in_flight:
        sends = _WAVES * max_in_flight
        sample |= _deliver(str(max_in_flight), sends, delay=options.gateway_seconds, max_in_flight=max_in_flight)
    return sample


def _deliver(name: str, sends: int, *, delay: float, max_in_flight: int) -> dict[str, float]:
    """Let a worker empty an outbox of so many sends."""
    tables: parts.Tables = {
        "delivery": {"deadline": _DEADLINE_SECONDS, "max_backlog": _BACKLOG},
        "gateways.mobilgroup": {"max_in_flight": max_in_flight},
    }
    with (
        parts.valkey() as server,
        gateway(delay) as receiver,
        parts.settings(server.url, tables, receiver.url) as made,
        seeding.seeds(made) as seeds,
    ):
        seeds.queued(seeding.numbers(sends))
        with parts.worker(made) as process:
            watched = {"worker": process, "valkey": server.process, "gateway": receiver.process}
            cost = _watch(watched, receiver, sends)
            parts.wait_until(lambda: seeds.waiting() == 0, "the outbox to be empty")
        times, stats = receiver.times(), receiver.stats()
    if not sends == stats["sends"] == stats["numbers"]:
        raise BenchError(f"{sends} sends waited, {stats['sends']} came to the gateway, for {stats['numbers']} numbers")
    first, last = sends // 10, sends * 9 // 10
    came, open_then = times["seconds"], times["open"]
    numbers = {
        "a_second": (last - first) / (came[last] - came[first]),
        "most_in_flight": stats["most_open"],
        "in_flight": median(open_then[bisect_left(came, came[first]) : bisect_left(came, came[last])]),
        **cost,
    }
    return {f"{name} {number}": value for number, value in numbers.items()}


def _watch(processes: dict[str, psutil.Process], receiver: RunningGateway, sends: int) -> dict[str, float]:
    """What each code costs each process in the steady state (seconds of CPU), and the most memory of the worker."""
    most_bytes = 0

    def reached(share: float) -> dict[str, float]:
        seen = 0

        def look() -> bool:
            nonlocal seen, most_bytes
            if not parts.is_alive(processes["worker"]):
                raise BenchError("the worker has ended")
            most_bytes = max(most_bytes, processes["worker"].memory_info().rss)
            seen = receiver.stats()["sends"]
            return seen >= share * sends

        parts.wait_until(look, f"{share:.0%} of {sends} sends", _MOST_SECONDS, _PAUSE_SECONDS)
        used = {name: parts.cpu_seconds([process]) for name, process in processes.items()}
        return {"sends": seen, **used}

    begun, ended = reached(0.1), reached(0.9)
    reached(1.0)
    codes = ended["sends"] - begun["sends"]
    if not codes:
        raise BenchError(f"{sends} sends are over before anybody can look")
    costs = {f"{name}_cpu_seconds_each": (ended[name] - begun[name]) / codes for name in processes}
    return costs | {"worker_bytes": most_bytes}


def _rows(options: Options) -> Sequence[Row]:
    rows = [*_rows_of(_INSTANT, "at once", at_least(LEAST_A_SECOND))]
    for each in options.in_flight:
        target = at_least(LEAST_SHARE * each / options.gateway_seconds)
        rows += _rows_of(str(each), f"{options.gateway_seconds:g} s, {each:,} at most", target)
    return sorted(rows, key=lambda row: ("codes", "in flight", "memory", "cpu").index(row.panel))


def _rows_of(name: str, which: str, target: Target) -> Sequence[Row]:
    waits = name != _INSTANT
    in_flight = (
        Row(f"in flight: {which}: median", "sends", "in flight", of(NAME, f"{name} in_flight")),
        Row(f"in flight: {which}: most", "sends", "in flight", of(NAME, f"{name} most_in_flight")),
    )
    memory = Row(
        f"memory: {which}",
        "MB",
        "memory",
        of(NAME, f"{name} worker_bytes", 1 / _MEGABYTE),
        at_most(MOST_MEGABYTES) if waits else None,
    )
    cpu = (
        Row(f"CPU: {which}: {process}", "ms a code", "cpu", of(NAME, f"{name} {process}_cpu_seconds_each", 1000))
        for process in ("worker", "valkey", "gateway")
    )
    codes = Row(f"codes: {which}", "codes/s", "codes", of(NAME, f"{name} a_second"), target)
    return (codes, *(in_flight if waits else ()), memory, *cpu)


MEASURE = Measure(
    NAME,
    "one `otpservice worker` from a full outbox to a gateway that answers at once, and to one that takes a while, "
    "with so many sends in flight at most",
    _rows,
    afresh(_run),
)
