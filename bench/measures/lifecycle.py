"""Whole verifications: start over HTTP, the code through the service's own worker to the gateway, verify with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from bench import parts
from bench.errors import BenchError
from bench.measure import Measure, Options, Row, Sample, afresh, at_least, of, percentile
from tests.support.ports import free_port

NAME = "lifecycle"
LEAST_A_SECOND = 1500
_MORE_SECONDS = 60  # than the caller should take, until it is given up


def _run(options: Options) -> Sample:
    gateway_port = free_port()
    with (
        parts.valkey() as server,
        parts.settings(server.url, gateway_url=f"http://{parts.HOST}:{gateway_port}/") as made,
        parts.service(made) as process,
    ):
        service = parts.family(process)
        before = parts.cpu_seconds(service), parts.cpu_seconds([server.process])
        numbers = (made.port, gateway_port, options.callers, options.seconds)
        command = [sys.executable, "-m", "bench.lifecycle_caller", *map(str, numbers)]
        called = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=options.seconds + _MORE_SECONDS
        )
        after = parts.cpu_seconds(service), parts.cpu_seconds([server.process])
    if called.returncode != 0:
        raise BenchError(f"whole verifications: {called.stderr.strip().splitlines()[-1]}")
    told = json.loads(called.stdout)
    return {
        "a_second": told["a_second"],
        "p50_seconds": percentile(told["took"], 50),
        "p99_seconds": percentile(told["took"], 99),
        "service_cpu_seconds_each": (after[0] - before[0]) / told["done"],
        "valkey_cpu_seconds_each": (after[1] - before[1]) / told["done"],
        "caller_cpu_seconds_each": told["cpu_seconds_each"],
    }


def _rows(options: Options) -> Sequence[Row]:
    return (
        Row(
            f"whole verifications, {options.callers} at once",
            "verifications/s",
            "rate",
            of(NAME, "a_second"),
            at_least(LEAST_A_SECOND),
        ),
        Row("start to verified, p50", "ms", "latency", of(NAME, "p50_seconds", 1000)),
        Row("start to verified, p99", "ms", "latency", of(NAME, "p99_seconds", 1000)),
        Row("CPU of the service", "us a verification", "cpu", of(NAME, "service_cpu_seconds_each", 1e6)),
        Row("CPU of Valkey", "us a verification", "cpu", of(NAME, "valkey_cpu_seconds_each", 1e6)),
        Row("CPU of caller and gateway", "us a verification", "cpu", of(NAME, "caller_cpu_seconds_each", 1e6)),
    )


MEASURE = Measure(
    NAME,
    "start over HTTP, the code by the service's own worker to a gateway that answers at once, verify over HTTP",
    _rows,
    afresh(_run),
)
