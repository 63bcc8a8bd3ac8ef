"""What each process spends on a request, and how often the service calls Redis for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import httpx

from bench import parts, scripts, seeding, serving
from bench.errors import BenchError
from bench.measure import Measure, Options, Row, Sample, afresh, exactly, of

NAME = "cpu"
_REQUESTS = 200
_CLOCK = "TIME"  # asked once by each process of the service, to know how its clock differs
_WHOLE_SCRIPT = "EVAL"  # a script that Redis does not know yet, after it has said so to EVALSHA


def _run(options: Options) -> Sample:
    return {**_calls("verify", _verify), **_calls("start", _start)}


def _calls(name: str, ask: Callable[[seeding.Seeds, httpx.Client], Callable[[], None]]) -> dict[str, float]:
    """Redis calls of a service that has just been started; what it says only once is counted apart."""
    with (
        parts.valkey() as server,
        parts.settings(server.url, serving.INTAKE_ONLY) as made,
        seeding.seeds(made) as seeds,
        parts.service(made),
        httpx.Client(base_url=made.url, headers=parts.HEADERS) as client,
    ):
        commands = scripts.commands_during(server.port, ask(seeds, client))
    sent = Counter(command[0].decode().upper() for command in commands)
    once = {f"{name} clock_calls": sent.pop(_CLOCK, 0), f"{name} whole_scripts": sent.pop(_WHOLE_SCRIPT, 0)}
    return {f"{name} calls_each": sent.total() / _REQUESTS, **once}


def _verify(seeds: seeding.Seeds, client: httpx.Client) -> Callable[[], None]:
    ids = seeds.pending(seeding.numbers(_REQUESTS))

    def ask() -> None:
        for id_ in ids:
            _expect(422, client.post(f"/v1/verifications/{id_}/verify", json={"code": seeding.WRONG_CODE}))

    return ask


def _start(seeds: seeding.Seeds, client: httpx.Client) -> Callable[[], None]:
    def ask() -> None:
        for number in seeding.numbers(_REQUESTS):
            headers = {"Idempotency-Key": number}
            _expect(201, client.post("/v1/verifications", json={"number": number}, headers=headers))

    return ask


def _expect(status: int, response: httpx.Response) -> None:
    if response.status_code != status:
        raise BenchError(f"{response.request.url} answered {response.status_code}, not {status}: {response.text}")


def _rows(options: Options) -> Sequence[Row]:
    cpu = [
        Row(f"{name}: {process}", "us a request", "cpu", of(name, f"{process}_cpu_seconds_each", 1e6))
        for name in ("verify", "start")
        for process in ("service", "valkey", "wrk")
    ]
    calls = [
        Row(f"Redis calls of a {name}", "calls", "calls", of(NAME, f"{name} calls_each"), exactly(1))
        for name in ("verify", "start")
    ]
    once = [
        Row(f"{_REQUESTS} of {name}: {what}", "calls in all", "once", of(NAME, f"{name} {number}"))
        for name in ("verify", "start")
        for what, number in (("clock look-ups", "clock_calls"), ("scripts sent whole", "whole_scripts"))
    ]
    return (*cpu, *calls, *once)


MEASURE = Measure(
    NAME,
    "CPU that each process spends on a request under the load of verify and start; Redis calls of the service",
    _rows,
    afresh(_run),
    needs=("verify", "start"),
)
