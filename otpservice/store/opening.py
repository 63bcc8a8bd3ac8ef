"""What a URL opens: one server's client and outbox, a Sentinel's master's, or a cluster's."""

from __future__ import annotations

import redis

from otpservice.store.address import Kind, parse_address
from otpservice.store.cluster import Cluster
from otpservice.store.cluster_async import AsyncCluster
from otpservice.store.cluster_outbox import ClusterOutbox
from otpservice.store.connection import connect, connect_async
from otpservice.store.outbox import Outbox
from otpservice.store.tls import Tls
from otpservice.verification.digests import Keyring

_READ_BLOCK_SECONDS = 2.0


def open_client(url: str, tls: Tls | None = None, *, max_connections: int = 100) -> redis.Redis | Cluster:
    """A client for threads, of which as many as ``max_connections`` may hold one. Connects when first used."""
    address = parse_address(url)
    if address.kind is Kind.CLUSTER:
        return Cluster(address, tls, max_connections=max_connections)
    return connect(url, tls, max_connections=max_connections)


def open_outbox(url: str, tls: Tls | None, keyring: Keyring, partitions: int, consumer: str) -> Outbox:
    """The outbox for one consumer, in a running event loop. Connects when first used."""
    address = parse_address(url)
    if address.kind is Kind.CLUSTER:
        return ClusterOutbox(AsyncCluster(address, tls), AsyncCluster(address, tls), keyring, partitions, consumer)
    reader = connect_async(url, tls, blocking_seconds=_READ_BLOCK_SECONDS)
    return Outbox(connect_async(url, tls), reader, keyring, partitions, consumer)
