"""Verify with wrong codes, over many pending verifications in turn."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import parts, seeding, serving
from bench.errors import BenchError
from bench.load import CONNECTIONS, run_wrk
from bench.measure import WARM_UP_SECONDS, Measure, Options, Row, Sample, afresh

NAME = "verify"
LEAST_RATIO = 0.45
ATTEMPTS = 10  # the most that settings allow


def _run(options: Options) -> Sample:
    tables: parts.Tables = {**serving.INTAKE_ONLY, "verification": {"max_attempts": ATTEMPTS}}
    with parts.valkey() as server, parts.settings(server.url, tables) as made, seeding.seeds(made) as seeds:
        ids = seeds.pending(seeding.numbers(options.pending))
        with tempfile.TemporaryDirectory() as folder, parts.service(made) as process:
            file = Path(folder) / "ids"
            arguments = [str(file), parts.API_KEY, seeding.WRONG_CODE]
            file.write_text("\n".join(ids), "utf-8")
            warm_up = run_wrk(made.url, WARM_UP_SECONDS, NAME, arguments)
            # Those that the warm-up left alone come first.
            turned = warm_up.requests % len(ids)
            file.write_text("\n".join(ids[turned:] + ids[:turned]), "utf-8")
            sample = serving.under_load(made.url, options, NAME, arguments, server, process)
            used = seeds.attempts_used(ids)
    expected = warm_up.requests + sample["requests"]
    if not serving.is_about(used, expected, runs=2) or sample["unwelcome"] != sample["requests"]:
        raise BenchError(f"{used} attempts were used by {expected:.0f} requests; there were {ATTEMPTS * len(ids)}")
    return sample


def _rows(options: Options) -> Sequence[Row]:
    return serving.rows(NAME, LEAST_RATIO)


MEASURE = Measure(
    NAME,
    f"wrong codes over 10,000 pending verifications, {CONNECTIONS} connections (wrk)",
    _rows,
    afresh(_run),
    needs=("floor",),
)
