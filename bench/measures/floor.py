"""What nothing can be faster than: an empty view on the same server, and our scripts called straight at Redis."""

from __future__ import annotations

from collections.abc import Sequence

from bench import parts, scripts_alone
from bench.errors import BenchError
from bench.load import CONNECTIONS, run_wrk
from bench.measure import WARM_UP_SECONDS, Measure, Options, Row, Sample, afresh, at_most, of
from bench.serving import LONGEST_SCRIPT_US
from tests.support.ports import free_port

NAME = "floor"


def _run(options: Options) -> Sample:
    port = free_port()
    url = f"http://{parts.HOST}:{port}/"
    with parts.spawned("-m", "bench.floor_server", str(port)) as process:
        parts.wait_for_answer(url, process)
        run_wrk(url, WARM_UP_SECONDS, NAME)
        load = run_wrk(url, options.seconds, NAME)
    if load.unwelcome:
        raise BenchError(f"{load.unwelcome} requests to an empty view were not answered well")
    verify, start = scripts_alone.verify(options.seconds), scripts_alone.start(options.seconds)
    return {
        "a_second": load.a_second,
        "p50_seconds": load.p50_seconds,
        "p99_seconds": load.p99_seconds,
        "verify_scripts_a_second": verify.a_second,
        "verify_script_us": verify.microseconds_each,
        "start_scripts_a_second": start.a_second,
        "start_script_us": start.microseconds_each,
    }


def _rows(options: Options) -> Sequence[Row]:
    return (
        Row("empty Flask view", "requests/s", "rate", of(NAME, "a_second")),
        Row("its p50", "ms", "latency", of(NAME, "p50_seconds", 1000)),
        Row("its p99", "ms", "latency", of(NAME, "p99_seconds", 1000)),
        Row("EVALSHA of the verify script", "calls/s", "script rate", of(NAME, "verify_scripts_a_second")),
        Row("EVALSHA of the start script", "calls/s", "script rate", of(NAME, "start_scripts_a_second")),
        Row("verify script", "us", "script", of(NAME, "verify_script_us"), at_most(LONGEST_SCRIPT_US)),
        Row("start script", "us", "script", of(NAME, "start_script_us"), at_most(LONGEST_SCRIPT_US)),
    )


MEASURE = Measure(
    NAME,
    f"an empty Flask view on the service's server (wrk, {CONNECTIONS} connections); the scripts of verify (wrong "
    f"codes) and start (redis-benchmark, {CONNECTIONS} connections)",
    _rows,
    afresh(_run),
)
