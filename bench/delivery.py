"""The bench's gateway in a process of its own, and what it tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from bench import parts
from tests.support.ports import free_port


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """Where it is, and what it says."""

    url: str
    process: psutil.Process
    client: httpx.Client

    def stats(self) -> dict[str, int]:
        """``sends``, ``numbers``, ``open`` and ``most_open``, up to now."""
        stats: dict[str, int] = self._get("stats")
        return stats

    def times(self) -> dict[str, list[float]]:
        """``seconds`` at which each send came, and how many were ``open`` then."""
        times: dict[str, list[float]] = self._get("times")
        return times

    def _get(self, what: str) -> Any:
        return self.client.get(f"{self.url}{what}").json()


@contextmanager
def gateway(delay: float = 0.0, silent: str | None = None) -> Iterator[RunningGateway]:
    """One that answers after so many seconds, and never for numbers that end in ``silent``."""
    port = free_port()
    url = f"http://{parts.HOST}:{port}/"
    options = ["--delay", str(delay), *(["--silent", silent] if silent is not None else [])]
    with (
        parts.spawned("-m", "bench.gateway", str(port), *options) as process,
        httpx.Client(timeout=30) as client,
    ):
        parts.wait_for_answer(f"{url}stats", process)
        yield RunningGateway(url, process, client)
