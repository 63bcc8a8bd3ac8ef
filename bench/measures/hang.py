"""Does a gateway that hangs slow verify down? Verify at an even rate, idle and with so many starts waiting for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

from bench import parts, seeding
from bench.calling import call_verify, calls
from bench.delivery import gateway
from bench.errors import BenchError
from bench.measure import Measure, Options, Row, Sample, afresh, at_most, of, percentile, ratio

NAME = "hang"
MOST_TIMES_IDLE = 2.0
_ATTEMPTS = 10
_SILENT = "91"  # as at the sandbox
_IN_FLIGHT = 200
_TABLES: parts.Tables = {
    "verification": {"max_attempts": _ATTEMPTS},
    "delivery": {"deadline": 120, "max_backlog": 1_000_000},
    "gateways.mobilgroup": {"timeout": 60, "max_in_flight": _IN_FLIGHT},
}


def _run(options: Options) -> Sample:
    idle, _ = _call(options, 0)
    hanging, waiting = _call(options, options.hanging)
    return {
        "idle_p50_seconds": percentile(idle, 50),
        "idle_p99_seconds": percentile(idle, 99),
        "hanging_p50_seconds": percentile(hanging, 50),
        "hanging_p99_seconds": percentile(hanging, 99),
        "waiting": waiting,
    }


def _call(options: Options, hanging: int) -> tuple[list[float], int]:
    """What verify takes on a service of its own, and how many sends waited all the time."""
    wanted = -(-calls(options) // _ATTEMPTS)
    with (
        parts.valkey() as server,
        gateway(silent=_SILENT) as receiver,
        parts.settings(server.url, _TABLES, receiver.url) as made,
        seeding.seeds(made) as seeds,
    ):
        ids = seeds.pending(seeding.numbers(wanted, ending="00"))
        if hanging:
            seeds.queued(seeding.numbers(hanging, ending=_SILENT))
        with parts.service(made):
            held_up = min(hanging, _IN_FLIGHT)
            parts.wait_until(lambda: receiver.stats()["open"] >= held_up, "the gateway to be held up")
            took = call_verify(made, options, islice(cycle(ids), calls(options)))
            waiting = seeds.waiting()
    if waiting < hanging:
        raise BenchError(f"{hanging} sends were to wait all the time, {waiting} did")
    return took, waiting


def _rows(options: Options) -> Sequence[Row]:
    p99 = ratio((NAME, "hanging_p99_seconds"), (NAME, "idle_p99_seconds"))
    return (
        Row("idle: p50", "ms", "latency", of(NAME, "idle_p50_seconds", 1000)),
        Row("hanging: p50", "ms", "latency", of(NAME, "hanging_p50_seconds", 1000)),
        Row("idle: p99", "ms", "latency", of(NAME, "idle_p99_seconds", 1000)),
        Row("hanging: p99", "ms", "latency", of(NAME, "hanging_p99_seconds", 1000)),
        Row("p99: hanging / idle", "ratio", "ratio", p99, at_most(MOST_TIMES_IDLE)),
        Row("sends that waited", "sends", "waiting", of(NAME, "waiting")),
    )


MEASURE = Measure(
    NAME,
    "verify at an even rate, idle and while a gateway takes sends and never answers",
    _rows,
    afresh(_run),
)
