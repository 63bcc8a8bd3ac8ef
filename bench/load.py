"""Load from tools of others: wrk for HTTP, redis-benchmark for one Redis command over and over."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

CONNECTIONS = 32
RANDOM_DIGITS = "__rand_int__"
_MOST_RANDOM = 10**9

_LUA = Path(__file__).parent / "lua"
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PACKAGES = {"wrk": "wrk", "redis-benchmark": "redis-tools"}
_MORE_SECONDS = 60  # than a tool should take, until it is given up


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw. ``unwelcome`` are answers other than 2xx and 3xx; ``cpu`` is what wrk itself used."""

    requests: int
    a_second: float
    p50_seconds: float
    p99_seconds: float
    unwelcome: int
    cpu_seconds: float = 0.0


def run_wrk(url: str, seconds: int, script: str | None = None, arguments: Sequence[str] = ()) -> Load:
    """Call ``url`` over CONNECTIONS connections for so long, with what ``lua/SCRIPT.lua`` makes of each request."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    if script is not None:
        command += ["-s", str(_LUA / f"{script}.lua")]
    before = _children_cpu_seconds()
    said = _run([*command, url, *(["--", *arguments] if arguments else [])], seconds)
    return read_wrk(said, _children_cpu_seconds() - before)


def read_wrk(said: str, cpu_seconds: float = 0.0) -> Load:
    """What wrk printed. Raises BenchError for errors of connections, and for what cannot be read."""
    failed = re.search(r"Socket errors:.*", said)
    if failed is not None:
        raise BenchError(f"wrk: {failed[0]}")
    unwelcome = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return Load(
        requests=int(_find(r"(\d+) requests in ", said)),
        a_second=float(_find(r"Requests/sec:\s+([\d.]+)", said)),
        p50_seconds=_duration(_find(r"\s50%\s+(\S+)", said)),
        p99_seconds=_duration(_find(r"\s99%\s+(\S+)", said)),
        unwelcome=int(unwelcome[1]) if unwelcome is not None else 0,
        cpu_seconds=cpu_seconds,
    )


def run_redis_benchmark(port: int, command: Sequence[str], count: int, seconds: int) -> float:
    """Run a Redis command ``count`` times, over CONNECTIONS connections; how many a second.

    Each RANDOM_DIGITS in it is replaced by as many digits, others every time.
    """
    tool = ["redis-benchmark", "-p", str(port), "-c", str(CONNECTIONS), "-n", str(count), "-q"]
    tool += ["-r", str(_MOST_RANDOM)]
    return read_redis_benchmark(_run([*tool, *command], seconds))


def read_redis_benchmark(said: str) -> float:
    """Commands a second. Raises BenchError for errors of commands, and for what cannot be read."""
    if "Error" in said or "ERR" in said:
        raise BenchError(f"redis-benchmark: {said.strip().splitlines()[-1]}")
    # What it shows while it runs ends in carriage returns; the last word is the whole run's.
    return float(re.findall(r"([\d.]+) requests per second", said)[-1])


def _run(command: Sequence[str], seconds: int) -> str:
    tool = command[0]
    if shutil.which(tool) is None:
        raise BenchError(f"{tool} is not installed; on Debian and Ubuntu: apt-get install {_PACKAGES[tool]}")
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + _MORE_SECONDS)
    if done.returncode != 0:
        raise BenchError(f"{tool} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _find(pattern: str, said: str) -> str:
    found = re.search(pattern, said)
    if found is None:
        raise BenchError(f"wrk said nothing like {pattern!r}:\n{said}")
    return found[1]


def _duration(text: str) -> float:
    """Seconds of a time as wrk writes it: ``512.00us``, ``4.32ms``, ``1.20s``."""
    read = re.fullmatch(r"([\d.]+)([a-z]+)", text)
    if read is None or read[2] not in _SECONDS:
        raise BenchError(f"wrk: {text!r} is no time")
    return float(read[1]) * _SECONDS[read[2]]


def _children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
