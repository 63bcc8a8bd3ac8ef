"""The store on a cluster: verifications in a partition of one's choice, and codes that the test knows."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from otpservice.store import keys, opening, scripts
from otpservice.store.cluster import Cluster
from otpservice.store.records import Start
from otpservice.store.verifications import Verifications
from otpservice.verification.digests import Keyring
from otpservice.verification.ids import partition_of
from otpservice.verification.lifecycle import Fallback, Verification
from otpservice.verification.policy import Policy
from tests.support.cluster import ClusterServers, Server, until

PARTITIONS = 16
CODE, WRONG_CODE = "123456", "654321"
KEYRING = Keyring([b"k" * 32])
POLICY = Policy(
    tenant="login",
    fallback=Fallback.SMS,
    code_length=6,
    default_region=None,
    regions=frozenset(),
    max_attempts=5,
    max_sends=3,
    ttl_ms=300_000,
    resend_after_ms=0,
    retention_ms=900_000,
    deadline_ms=60_000,
    max_backlog=100_000,
    number_rules=(),
    failure_rules=(),
    ip_rules=(),
    tenant_rules=(),
)

numbers = (f"+7999{place:07d}" for place in count())


def open_cluster(servers: ClusterServers) -> Cluster:
    client = opening.open_client(servers.url)
    assert isinstance(client, Cluster)
    return client


def start(store: Verifications, *, on: Callable[[int], bool] = lambda _: True) -> Verification:
    """A started verification, in a partition that suits ``on``."""
    number = next(each for each in numbers if on(partition_of_number(each)))
    return store.start(Start(number, Fallback.SMS, 6), POLICY).verification


def partition_of_number(number: str) -> int:
    return keys.partition_for(KEYRING.number_digest(number), PARTITIONS)


def key_of(made: Verification) -> str:
    return keys.verification(partition(made), made.id)


def partition(made: Verification) -> int:
    found = partition_of(made.id)
    assert found is not None
    return found


def arm(servers: ClusterServers, made: Verification) -> None:
    """Store the hash of CODE, as the worker does before it sends."""
    code_hash = KEYRING.code_hash(made.id, 1, CODE)
    deadline = made.created_at + 60_000
    owner = servers.owner(key_of(made))
    reply = owner.ask("EVAL", scripts.ARM.source, 1, key_of(made), 1, deadline, code_hash.key_id, code_hash.digest)
    assert reply[0] == "armed"


def sent(servers: ClusterServers, store: Verifications, **where: Any) -> Verification:
    """A verification whose code is CODE."""
    made = start(store, **where)
    arm(servers, made)
    return made


@contextmanager
def standing_still(server: Server) -> Iterator[None]:
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)
        until(lambda: server.ask("PING"), "the server to go on")


def evaluations(server: Server) -> int:
    """How many scripts a node has run or refused to."""
    stats = server.ask("INFO", "commandstats")
    found = [stats.get(f"cmdstat_{name}", {}) for name in ("eval", "evalsha")]
    return sum(int(each.get("calls", 0)) + int(each.get("rejected_calls", 0)) for each in found)
