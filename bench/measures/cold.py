"""A cold start: the first answered start, what importing takes, and the memory of each process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

import httpx
import psutil
import redis

from bench import parts
from bench.errors import BenchError
from bench.measure import Measure, Options, Row, Sample, afresh, at_most, of
from otpservice.config import ServerSettings

NAME = "cold"
MOST_SECONDS = 2.0
_MEGABYTE = 1_000_000
_API_PROCESSES = ServerSettings().workers


def _run(options: Options) -> Sample:
    with (
        parts.valkey() as server,
        parts.settings(server.url) as made,
        httpx.Client(base_url=made.url, headers=parts.HEADERS, timeout=5) as client,
    ):
        began = time.monotonic()
        with parts.spawned("-m", "otpservice", "serve", "--config", str(made.path)) as process:
            parts.wait_until(lambda: not parts.is_alive(process) or _starts(client), "a first start")
            first_seconds = time.monotonic() - began
            if not parts.is_alive(process):
                raise BenchError("the service has ended")
            parts.wait_until(lambda: len(_workers(process)) == _API_PROCESSES, "all of its processes")
            memory = _memory(process, server)
        with parts.worker(made) as alone, redis.Redis(port=server.port) as store:
            # It is there when it reads the outbox, as which it is known to Valkey.
            parts.wait_until(lambda: any("xreadgroup" in each["cmd"] for each in store.client_list()), "the worker")
            memory["worker_bytes"] = alone.memory_info().rss
    return {
        "first_seconds": first_seconds,
        "import_seconds": _python_seconds("import otpservice.cli") - _python_seconds("pass"),
        **memory,
    }


def _starts(client: httpx.Client) -> bool:
    try:
        return client.post("/v1/verifications", json={"number": "+79990000000"}).status_code == 201
    except httpx.TransportError:
        return False


def _python_seconds(code: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - began


def _workers(process: psutil.Process) -> list[psutil.Process]:
    """The processes that serve the API; beside them there is one of multiprocessing's."""
    return [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]


def _memory(process: psutil.Process, server: parts.Valkey) -> dict[str, float]:
    api = _workers(process)
    everything = parts.family(process)
    return {
        "parent_bytes": process.memory_info().rss,
        "api_bytes": sum(each.memory_info().rss for each in api) / len(api),
        "all_unshared_bytes": sum(each.memory_full_info().uss for each in everything),
        "valkey_bytes": server.process.memory_info().rss,
    }


def _rows(options: Options) -> Sequence[Row]:
    def memory(name: str, number: str) -> Row:
        return Row(name, "MB", "memory", of(NAME, number, 1 / _MEGABYTE))

    return (
        Row("command to first 201", "s", "time", of(NAME, "first_seconds"), at_most(MOST_SECONDS)),
        Row("importing otpservice.cli", "s", "time", of(NAME, "import_seconds")),
        memory("resident: parent, with its delivery worker", "parent_bytes"),
        memory("resident: each API process", "api_bytes"),
        memory("resident: a worker alone", "worker_bytes"),
        memory("resident: Valkey", "valkey_bytes"),
        memory("unshared, all of serve", "all_unshared_bytes"),
    )


MEASURE = Measure(
    NAME,
    "from the command `otpservice serve` to the first start that is answered with 201; memory after that",
    _rows,
    afresh(_run),
)
