"""What Redis says of what it is told: how often scripts ran and for how long, and every command that clients send."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import redis

from bench.parts import HOST

_SECONDS = 10.0
_END = b"bench-end"
_SENT = re.compile(rb'\+[\d.]+ \[\d+ (?P<client>[^\]]*)\] (?P<words>".*")\r\n')
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class ScriptCalls:
    """Scripts that ran, and how long each took inside of Redis: on average, and half of them at most.

    Redis reads a clock before and after. Where it is interrupted in between, what others did meanwhile is in the
    average too.
    """

    calls: int
    microseconds_each: float
    median_microseconds: float


def reset(client: redis.Redis) -> None:
    """Count anew."""
    client.config_resetstat()


def script_calls(client: redis.Redis) -> ScriptCalls:
    """Scripts since ``reset``."""
    seen = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0, "usec_per_call": 0.0})
    took = client.info("latencystats").get("latency_percentiles_usec_evalsha", {"p50": 0.0})
    return ScriptCalls(int(seen["calls"]), float(seen["usec_per_call"]), float(took["p50"]))


def commands_during(port: int, act: Callable[[], object]) -> list[list[bytes]]:
    """The commands that clients send while ``act`` runs, in order; not those that scripts run inside of Redis."""
    with (
        redis.Redis(port=port) as client,
        socket.create_connection((HOST, port), _SECONDS) as monitor,
        monitor.makefile("rb") as lines,
    ):
        client.ping()  # it is connected, and says nothing more to set itself up
        monitor.sendall(b"MONITOR\r\n")
        lines.readline()
        act()
        client.echo(_END)
        return list(_until_end(lines))


def _until_end(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    for line in lines:
        sent = _SENT.fullmatch(line)
        assert sent is not None, line
        if sent["client"] != b"lua":
            words = [_unescape(word) for word in _WORD.findall(sent["words"])]
            if words[-1] == _END:
                return
            yield words


def _unescape(word: bytes) -> bytes:
    """MONITOR writes bytes that cannot be shown as Python does."""
    return word.decode("unicode_escape").encode("latin-1")
