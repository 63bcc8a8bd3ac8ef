"""TLS to Redis. One context is made for all connections.

redis-py makes one for each connection, which reads the system's authorities anew (some 60 ms of CPU: after a
failover, when every thread connects, that is the promise to answer in time) and trusts them besides the given one.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from redis.asyncio.connection import SSLConnection as AsyncSSLConnection
from redis.asyncio.sentinel import SentinelManagedConnection as AsyncSentinelConnection
from redis.connection import SSLConnection
from redis.sentinel import SentinelManagedConnection


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: whom to trust (None: the system's authorities), and what to show where the server asks."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


@lru_cache
def context_of(tls: Tls) -> ssl.SSLContext:
    """What these files amount to. Raises OSError where one cannot be read or is not what it should be."""
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.cert is not None:
        # Without a password given here, OpenSSL would ask the terminal for the key's.
        context.load_cert_chain(tls.cert, tls.key, password="")
    return context


class TlsConnection(SSLConnection):
    """A connection for threads, with a context of ours."""

    def __init__(self, *, tls: Tls, **options: Any) -> None:
        super().__init__(**options)
        self._context = context_of(tls)

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        return self._context.wrap_socket(sock, server_hostname=self.host)


class AsyncTlsConnection(AsyncSSLConnection):
    """The same for an event loop."""

    def __init__(self, *, tls: Tls, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context.context = context_of(tls)


class SentinelTlsConnection(SentinelManagedConnection, TlsConnection):
    """To the master that a Sentinel names."""


class AsyncSentinelTlsConnection(AsyncSentinelConnection, AsyncTlsConnection):
    """The same for an event loop."""
