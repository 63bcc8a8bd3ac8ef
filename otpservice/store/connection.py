"""Connections to Redis or Valkey, and what their failures mean to a caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel

from otpservice.store.address import Address, Kind, parse_address
from otpservice.verification.errors import StoreUnavailableError

CONNECT_TIMEOUT_SECONDS = 0.5
COMMAND_TIMEOUT_SECONDS = 1.0
# Sentinels are asked one after the other, before a connection to the master: three that hang cost this three times.
SENTINEL_TIMEOUT_SECONDS = 0.25
_RETRY_AFTER_MS = 1000


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: whom to trust (None: the system's authorities), and what to show where the server asks."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


def options(timeout_seconds: float) -> dict[str, Any]:
    """How any connection is made; ``timeout_seconds`` is the longest wait for an answer."""
    # No command is sent twice by itself: a verify whose answer was lost may have been counted.
    return {
        "decode_responses": True,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": timeout_seconds,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "client_name": "otpservice",
    }


def tls_options(tls: Tls) -> dict[str, Any]:
    """What a TLS connection needs besides."""
    return {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.cert, "ssl_keyfile": tls.key}


def node_options(address: Address, tls: Tls, timeout_seconds: float) -> dict[str, Any]:
    """What a client of one of several servers is made with, besides its host and port."""
    return {
        **options(timeout_seconds),
        "username": address.user,
        "password": address.password,
        **({"ssl": True, **tls_options(tls)} if address.tls else {}),
    }


def connect(url: str, tls: Tls | None = None) -> redis.Redis:
    """A client for threads, of one server or of a Sentinel's master. Connects when first used.

    Commands give up after a second and are never repeated. Raises ValueError for a cluster: ``Cluster`` is its client.
    """
    address = parse_address(url)
    never = Retry(NoBackoff(), 0)
    if address.kind is Kind.SINGLE:
        extra = tls_options(tls or Tls()) if address.tls else {}
        return redis.Redis.from_url(url, retry=never, **options(COMMAND_TIMEOUT_SECONDS), **extra)
    _refuse_cluster(address)
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.nodes, sentinel_kwargs=_sentinel_options(address, tls, never)
    )
    made = node_options(address, tls or Tls(), COMMAND_TIMEOUT_SECONDS)
    client: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        address.master, db=address.database, retry=never, **made
    )
    return client


def connect_async(url: str, tls: Tls | None = None, *, blocking_seconds: float = 0.0) -> redis.asyncio.Redis:
    """The same for an event loop. ``blocking_seconds`` is how long a command may block in Redis on purpose."""
    address = parse_address(url)
    never = AsyncRetry(NoBackoff(), 0)
    timeout_seconds = COMMAND_TIMEOUT_SECONDS + blocking_seconds
    if address.kind is Kind.SINGLE:
        extra = tls_options(tls or Tls()) if address.tls else {}
        return redis.asyncio.Redis.from_url(url, retry=never, **options(timeout_seconds), **extra)
    _refuse_cluster(address)
    sentinel = AsyncSentinel(  # type: ignore[no-untyped-call]
        address.nodes, sentinel_kwargs=_sentinel_options(address, tls, never)
    )
    made = node_options(address, tls or Tls(), timeout_seconds)
    client: redis.asyncio.Redis = sentinel.master_for(address.master, db=address.database, retry=never, **made)
    return client


def _refuse_cluster(address: Address) -> None:
    if address.kind is Kind.CLUSTER:
        raise ValueError("a cluster is more than one connection")


def _sentinel_options(address: Address, tls: Tls | None, retry: Any) -> dict[str, Any]:
    return {
        **options(SENTINEL_TIMEOUT_SECONDS),
        "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
        "retry": retry,
        **({"ssl": True, **tls_options(tls or Tls())} if address.tls else {}),
    }


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever Redis may fail with into StoreUnavailableError: nothing was decided, so nothing verifies."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        # The text of a Redis error may quote the command, and with it a number: only its kind goes on.
        raise StoreUnavailableError(f"Redis: {type(error).__name__}", _RETRY_AFTER_MS) from None
