"""Connections to Redis or Valkey, and what their failures mean to a caller."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel

from otpservice.store.address import Address, Kind, Node, parse_address
from otpservice.store.kernel_timed import MasterConnection, PlainConnection, SocketFileConnection
from otpservice.store.tls import (
    AsyncSentinelTlsConnection,
    AsyncTlsConnection,
    SentinelTlsConnection,
    Tls,
    TlsConnection,
    context_of,
)
from otpservice.tracebacks import without_frames
from otpservice.verification.errors import StoreUnavailableError

CONNECT_TIMEOUT_SECONDS = 0.4
COMMAND_TIMEOUT_SECONDS = (
    0.6  # twice, with a wait for the connection each time, within the two seconds that are promised
)
# Sentinels are asked one after the other, before a connection to the master: three that hang cost this three times.
SENTINEL_TIMEOUT_SECONDS = 0.25
_ASYNC_CONNECTIONS = 64  # a command holds one for a millisecond; a send at its gateway holds none
_MAX_CONNECTIONS = 100
_RETRY_AFTER_MS = 1000
_ERROR_CODE = re.compile(r"[A-Z]{2,}")
_KERNEL_TIMED: Mapping[str, Any] = {
    "redis": {"connection_class": PlainConnection},
    "unix": {"connection_class": SocketFileConnection},
}


def options(timeout_seconds: float) -> dict[str, Any]:
    """How any connection is made; ``timeout_seconds`` is the longest wait for an answer."""
    return {
        "decode_responses": True,
        # Without the words that RESP3 and a name would cost at each connect, a connection is ready at once.
        "protocol": 2,
        "driver_info": None,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": timeout_seconds,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def connect(url: str, tls: Tls | None = None, *, max_connections: int = _MAX_CONNECTIONS) -> redis.Redis:
    """A client for threads, of one server or of a Sentinel's master: connects when first used, gives up after
    ``COMMAND_TIMEOUT_SECONDS``.

    No command is sent twice by itself: a verify whose answer was lost may have been counted. ``max_connections`` is
    how many there may be at once: of the threads that wait, for replicas or for a delivery, each holds one of its own.
    Raises ValueError for a cluster, OSError for a TLS file that cannot be used.
    """
    address = parse_address(url)
    made = options(COMMAND_TIMEOUT_SECONDS) | {"retry": Retry(NoBackoff(), 0), "max_connections": max_connections}
    match address.kind:
        case Kind.SINGLE:
            over_tls = _single_options(address, tls, TlsConnection)
            if over_tls is None:
                kernel_timed = _KERNEL_TIMED.get(urlsplit(url).scheme, {})
                return redis.Redis.from_url(url, **made, **kernel_timed, **_file_options(address, tls))
            return redis.Redis.from_pool(redis.ConnectionPool(**made, **over_tls))
        case Kind.SENTINEL:
            made |= {"connection_class": MasterConnection} | _credentials(address)
            made |= _tls_options(address, tls, SentinelTlsConnection)
            sentinel = Sentinel([])  # type: ignore[no-untyped-call]
            sentinel.sentinels = [connect_node(node, sentinel_options(address, tls)) for node in address.nodes]
            client: _Master = sentinel.master_for(  # type: ignore[no-untyped-call]
                address.master, _Master, db=address.database, **made
            )
            client.watchers = sentinel
            return client
        case Kind.CLUSTER:
            raise ValueError("a cluster is more than one connection")


def connect_async(url: str, tls: Tls | None = None, *, blocking_seconds: float = 0.0) -> redis.asyncio.Redis:
    """The same for an event loop. ``blocking_seconds`` is how long a command may block in Redis on purpose.

    More commands at once than connections wait for one, for as long as a command may take.
    """
    address = parse_address(url)
    made = options(COMMAND_TIMEOUT_SECONDS + blocking_seconds) | _async_pool_options()
    match address.kind:
        case Kind.SINGLE:
            over_tls = _single_options(address, tls, AsyncTlsConnection)
            if over_tls is None:
                made |= _file_options(address, tls)
                return redis.asyncio.Redis.from_pool(redis.asyncio.BlockingConnectionPool.from_url(url, **made))
            return redis.asyncio.Redis.from_pool(redis.asyncio.BlockingConnectionPool(**made, **over_tls))
        case Kind.SENTINEL:
            made |= _credentials(address) | _tls_options(address, tls, AsyncSentinelTlsConnection)
            sentinel = AsyncSentinel([])  # type: ignore[no-untyped-call]
            sentinel.sentinels = [
                connect_node_async(node, sentinel_options(address, tls, asynchronous=True)) for node in address.nodes
            ]
            client: _AsyncMaster = sentinel.master_for(
                address.master, _AsyncMaster, _WaitingSentinelPool, db=address.database, **made
            )
            client.watchers = sentinel
            return client
        case Kind.CLUSTER:
            raise ValueError("a cluster is more than one connection")


def node_options(address: Address, tls: Tls | None, *, asynchronous: bool = False) -> dict[str, Any]:
    """What a client of a cluster's node is made with."""
    over_tls = _tls_options(address, tls, AsyncTlsConnection if asynchronous else TlsConnection)
    plain = {} if asynchronous else {"connection_class": PlainConnection}
    return options(COMMAND_TIMEOUT_SECONDS) | plain | _credentials(address) | over_tls


def sentinel_options(address: Address, tls: Tls | None, *, asynchronous: bool = False) -> dict[str, Any]:
    """What a client of a Sentinel is made with."""
    over_tls = _tls_options(address, tls, AsyncTlsConnection if asynchronous else TlsConnection)
    return options(SENTINEL_TIMEOUT_SECONDS) | {"socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS} | over_tls


def connect_node(node: Node, made: Mapping[str, Any]) -> redis.Redis:
    """A client for threads, of one of several servers."""
    host, port = node
    return redis.Redis.from_pool(redis.ConnectionPool(host=host, port=port, retry=Retry(NoBackoff(), 0), **made))


def connect_node_async(node: Node, made: Mapping[str, Any]) -> redis.asyncio.Redis:
    """The same for an event loop."""
    host, port = node
    pool = redis.asyncio.BlockingConnectionPool(host=host, port=port, **_async_pool_options(), **made)
    return redis.asyncio.Redis.from_pool(pool)


def _async_pool_options() -> dict[str, Any]:
    return {
        "retry": AsyncRetry(NoBackoff(), 0),
        "max_connections": _ASYNC_CONNECTIONS,
        "timeout": COMMAND_TIMEOUT_SECONDS,
    }


class _Master(redis.Redis):
    """A client of the master that closes the Sentinels' connections with its own."""

    watchers: Sentinel

    def close(self) -> None:
        super().close()
        self.watchers.close()


class _WaitingSentinelPool(SentinelConnectionPool, redis.asyncio.BlockingConnectionPool):
    """Connections to the master, of which no more are made than may be."""


class _AsyncMaster(redis.asyncio.Redis):
    """The same for an event loop."""

    watchers: AsyncSentinel

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        await self.watchers.aclose()


def _credentials(address: Address) -> dict[str, Any]:
    return {"username": address.user, "password": address.password}


def _tls_options(address: Address, tls: Tls | None, connection_class: type) -> dict[str, Any]:
    if not address.tls:
        return {}
    files = tls or Tls()
    context_of(files)  # what is wrong with a file is heard of now, not at the first login
    return {"connection_class": connection_class, "tls": files}


def _single_options(address: Address, tls: Tls | None, connection_class: type) -> dict[str, Any] | None:
    """What the URL says of one server over TLS; None without TLS, or where the URL itself says how."""
    if not address.tls:
        return None
    said: dict[str, Any] = parse_url(address.url)  # type: ignore[no-untyped-call]
    if any(name.startswith("ssl_") for name in said):
        return None
    return said | _tls_options(address, tls, connection_class)


def _file_options(address: Address, tls: Tls | None) -> dict[str, Any]:
    if not address.tls or tls is None:
        return {}
    return {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.cert, "ssl_keyfile": tls.key}


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever Redis may fail with into StoreUnavailableError: nothing verifies that Redis did not say so of."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise unavailable(error) from None


def unavailable(error: redis.RedisError | OSError) -> StoreUnavailableError:
    """What a failure of Redis is to a caller: its text may quote the command, so only its kind and code go on."""
    without_frames(error)
    code = _ERROR_CODE.match(str(error))
    kind = f"{type(error).__name__} {code[0]}" if code else type(error).__name__
    return StoreUnavailableError(f"Redis: {kind}", _RETRY_AFTER_MS)
