"""What nothing can be faster than: an empty view on the same server, and our verify script called straight at Redis."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from bench import parts, scripts, seeding
from bench.errors import BenchError
from bench.load import CONNECTIONS, run_redis_benchmark, run_wrk
from bench.measure import WARM_UP_SECONDS, Measure, Options, Row, Sample, afresh, of
from otpservice.network import free_port
from otpservice.store import keys
from otpservice.store.verifications import Verifications
from otpservice.verification.errors import IncorrectCodeError
from otpservice.verification.limits import Rule

NAME = "floor"
_SCRIPTS_A_SECOND = 25_000  # so many calls are made for each second wanted
_NEVER_USED_UP = 1_000_000_000
_NEVER_TOO_LATE = 2**53 - 1
_NEVER_LIMITED = Rule(1_000_000, 1)


def _run(options: Options) -> Sample:
    port = free_port(parts.HOST, 0)
    url = f"http://{parts.HOST}:{port}/"
    with parts.spawned("-m", "bench.floor_server", str(port)) as process:
        parts.wait_for_answer(url, process)
        run_wrk(url, WARM_UP_SECONDS, NAME)
        load = run_wrk(url, options.seconds, NAME)
    if load.unwelcome:
        raise BenchError(f"{load.unwelcome} requests to an empty view were not answered well")
    scripts_a_second, script_us = _call_script(options.seconds)
    return {
        "a_second": load.a_second,
        "p50_seconds": load.p50_seconds,
        "p99_seconds": load.p99_seconds,
        "scripts_a_second": scripts_a_second,
        "script_us": script_us,
    }


def _call_script(seconds: int) -> tuple[float, float]:
    """Wrong codes a second for one verification, each with all that the script does; and the microseconds of each."""
    with parts.valkey() as server, parts.settings(server.url) as made, seeding.seeds(made) as seeds:
        (id_,) = seeds.pending(seeding.numbers(1))
        policy = replace(seeds.policy, failure_rules=(_NEVER_LIMITED,))
        store = Verifications(seeds.client, seeds.keyring, partitions=1)

        def verify() -> None:
            with suppress(IncorrectCodeError):
                store.verify(id_, seeding.WRONG_CODE, None, policy)

        verify()  # Redis knows the script from now on
        command = scripts.commands_during(server.port, verify)[-1]
        # The last argument is the latest time to begin, by Redis's clock.
        command[-1] = str(_NEVER_TOO_LATE).encode()
        key = keys.verification(seeding.PARTITION, id_)
        seeds.client.hset(key, seeding.ATTEMPTS_FIELD, _NEVER_USED_UP)
        scripts.reset(seeds.client)
        count = seconds * _SCRIPTS_A_SECOND
        a_second = run_redis_benchmark(server.port, [word.decode() for word in command], count, seconds)
        used = _NEVER_USED_UP - int(seeds.client.hget(key, seeding.ATTEMPTS_FIELD) or 0)
        if not count <= used <= count + CONNECTIONS:  # the tool sends a few more than it counts
            raise BenchError(f"{count} scripts were called, {used} attempts were used")
        return a_second, scripts.script_calls(seeds.client).microseconds_each


def _rows(options: Options) -> Sequence[Row]:
    return (
        Row("empty Flask view", "requests/s", "rate", of(NAME, "a_second")),
        Row("its p50", "ms", "latency", of(NAME, "p50_seconds", 1000)),
        Row("its p99", "ms", "latency", of(NAME, "p99_seconds", 1000)),
        Row("EVALSHA of the verify script", "calls/s", "script rate", of(NAME, "scripts_a_second")),
        Row("the script alone", "us", "script", of(NAME, "script_us")),
    )


MEASURE = Measure(
    NAME,
    f"an empty Flask view on the service's server (wrk, {CONNECTIONS} connections); the verify script with wrong codes "
    f"(redis-benchmark, {CONNECTIONS} connections)",
    _rows,
    afresh(_run),
)
