"""Verify called at an even rate, from a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable

from bench import parts
from bench.errors import BenchError
from bench.measure import WARM_UP_SECONDS, Options

_MORE_SECONDS = 60  # than the caller should take, until it is given up


def calls(options: Options) -> int:
    """How many ids ``call_verify`` takes."""
    return options.rate * (options.seconds + WARM_UP_SECONDS)


def call_verify(made: parts.Settings, options: Options, ids: Iterable[str]) -> list[float]:
    """A wrong code for each of these ids; the seconds that each answer took, but for those of the warm-up."""
    numbers = map(str, (made.port, options.rate, options.seconds))
    called = subprocess.run(
        [sys.executable, "-m", "bench.caller", *numbers],
        input="\n".join(ids),
        check=False,
        capture_output=True,
        text=True,
        timeout=options.seconds + _MORE_SECONDS,
    )
    if called.returncode != 0:
        raise BenchError(f"verify at an even rate: {called.stderr.strip().splitlines()[-1]}")
    took: list[float] = json.loads(called.stdout)
    return took
