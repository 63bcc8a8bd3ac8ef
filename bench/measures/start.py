"""Start with distinct numbers and idempotency keys, under the default limits; nothing is sent (intake only)."""

from __future__ import annotations

from collections.abc import Sequence

from bench import parts, seeding, serving
from bench.errors import BenchError
from bench.load import CONNECTIONS, run_wrk
from bench.measure import WARM_UP_SECONDS, Measure, Options, Row, Sample, afresh

NAME = "start"
LEAST_RATIO = 0.40
_ENOUGH = 10_000_000  # as many as there are numbers


def _run(options: Options) -> Sample:
    tables: parts.Tables = {**serving.INTAKE_ONLY, "delivery": {"max_backlog": _ENOUGH}}
    with parts.valkey() as server, parts.settings(server.url, tables) as made, seeding.seeds(made) as seeds:
        with parts.service(made) as process:
            warm_up = run_wrk(made.url, WARM_UP_SECONDS, NAME, [parts.API_KEY, "0"])
            after = str(warm_up.requests + CONNECTIONS)
            sample = serving.under_load(made.url, options, NAME, [parts.API_KEY, after], server, process)
        made_here = sum(1 for _ in seeds.client.scan_iter("otp:{*}:v:*", count=10_000))
        waiting = seeds.waiting()
    expected = warm_up.requests + sample["requests"]
    if not serving.is_about(made_here, expected, runs=2) or sample["unwelcome"] or waiting != made_here:
        raise BenchError(
            f"{expected:.0f} requests, of which {sample['unwelcome']:.0f} were refused, made {made_here} verifications "
            f"and {waiting} sends"
        )
    return sample


def _rows(options: Options) -> Sequence[Row]:
    return serving.rows(NAME, LEAST_RATIO)


MEASURE = Measure(
    NAME,
    f"distinct numbers with an Idempotency-Key, default limits, intake only, {CONNECTIONS} connections (wrk)",
    _rows,
    afresh(_run),
    needs=("floor",),
)
