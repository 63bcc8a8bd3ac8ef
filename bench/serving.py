"""A service under wrk's load: requests/s, what each process spent on them, and how long its scripts took in Redis."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import redis

from bench import parts, scripts
from bench.load import CONNECTIONS, run_wrk
from bench.measure import Options, Row, at_least, at_most, of, ratio

LONGEST_SCRIPT_US = 25
INTAKE_ONLY: parts.Tables = {"server": {"delivery": False}}


def under_load(
    url: str,
    options: Options,
    script: str,
    arguments: Sequence[str],
    server: parts.Valkey,
    process: psutil.Process,
) -> dict[str, float]:
    """One run of wrk. Nobody else may call the service meanwhile."""
    service = parts.family(process)
    with redis.Redis(port=server.port) as client:
        scripts.reset(client)
        before = parts.cpu_seconds(service), parts.cpu_seconds([server.process])
        load = run_wrk(url, options.seconds, script, arguments)
        after = parts.cpu_seconds(service), parts.cpu_seconds([server.process])
        called = scripts.script_calls(client)
    return {
        "requests": load.requests,
        "unwelcome": load.unwelcome,
        "a_second": load.a_second,
        "p50_seconds": load.p50_seconds,
        "p99_seconds": load.p99_seconds,
        "script_us": called.microseconds_each,
        "script_median_us": called.median_microseconds,
        "script_calls_each": called.calls / load.requests,
        "service_cpu_seconds_each": (after[0] - before[0]) / load.requests,
        "valkey_cpu_seconds_each": (after[1] - before[1]) / load.requests,
        "wrk_cpu_seconds_each": load.cpu_seconds / load.requests,
    }


def is_about(counted: float, expected: float, runs: int = 1) -> bool:
    """Whether what Redis counted is what wrk did, but for answers not waited for at each run's end."""
    return expected <= counted <= expected + runs * CONNECTIONS


def rows(name: str, least_ratio: float) -> Sequence[Row]:
    """What verify and start are asked alike."""
    return (
        Row(name, "requests/s", "rate", of(name, "a_second")),
        Row(
            f"{name} / empty view",
            "ratio",
            "ratio",
            ratio((name, "a_second"), ("floor", "a_second")),
            at_least(least_ratio),
        ),
        Row("p50", "ms", "latency", of(name, "p50_seconds", 1000)),
        Row("p99", "ms", "latency", of(name, "p99_seconds", 1000)),
        Row(
            "its script, all else running: p50",
            "us",
            "script",
            of(name, "script_median_us"),
            at_most(LONGEST_SCRIPT_US),
        ),
        Row("its script, all else running: mean", "us", "script", of(name, "script_us")),
    )
