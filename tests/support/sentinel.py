"""A master, its replica and three Sentinels on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.support.cluster import Server, until

MASTER = "otp"
_SENTINELS = 3


@dataclass
class SentinelServers:
    """``servers`` are the master and its replicas, the first the master at first."""

    servers: list[Server]
    sentinels: list[Server]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{each.port}' for each in self.sentinels)}/{MASTER}/0"

    def primaries(self) -> list[Server]:
        """Those that are masters now, among those that run."""
        return [server for server in self.servers if server.is_running and server.role() == "master"]

    def owner(self, key: str) -> Server:
        """The master as a Sentinel sees it."""
        _, port = self.sentinels[0].ask("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER)
        return next(server for server in self.servers if server.port == int(port))

    def replicated(self) -> None:
        """Wait until the replicas have all that the master has."""
        [master] = self.primaries()
        with master.client() as client:
            replicas = int(client.info("replication")["connected_slaves"])
            assert client.wait(replicas, 5000) == replicas

    def stop(self) -> None:
        for server in [*self.sentinels, *self.servers]:
            server.stop()


@contextmanager
def running_sentinels(folder: Path, *, replicas: int = 1) -> Iterator[SentinelServers]:
    """A master that three Sentinels watch, and that they agree on."""
    settings = {"save": '""', "repl-diskless-sync-delay": "0"}
    master = Server(folder / "master", settings)
    followers = [
        Server(folder / f"replica-{place}", {**settings, "replicaof": f"127.0.0.1 {master.port}"})
        for place in range(replicas)
    ]
    watch = {
        "sentinel monitor": f"{MASTER} 127.0.0.1 {master.port} 2",
        "sentinel down-after-milliseconds": f"{MASTER} 1000",
        "sentinel failover-timeout": f"{MASTER} 5000",
    }
    sentinels = [Server(folder / f"sentinel-{place}", watch, ("--sentinel",)) for place in range(_SENTINELS)]
    servers = SentinelServers([master, *followers], sentinels)
    try:
        for server in [master, *followers, *sentinels]:
            server.start()
        for sentinel in sentinels:
            until(lambda: _sees_all(sentinel, replicas), "the Sentinels to see each other")  # noqa: B023
        yield servers
    finally:
        servers.stop()


def _sees_all(sentinel: Server, replicas: int) -> bool:
    with sentinel.client() as client:
        state = client.sentinel_master(MASTER)
        assert isinstance(client, redis.Redis)
        return bool(state["num-other-sentinels"] == _SENTINELS - 1 and state["num-slaves"] == replicas)
