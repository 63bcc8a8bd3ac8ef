"""A real Valkey, emptied before each test, and a tenant on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.abuse.support import Shop, running_valkey


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with running_valkey() as url:
        yield url


@pytest.fixture(params=[1, 16], ids=["1 partition", "16 partitions"])
def shop(request: pytest.FixtureRequest, valkey_url: str) -> Iterator[Shop]:
    with Shop(valkey_url, partitions=request.param) as opened:
        opened.client.flushall()
        opened.prepare()
        yield opened
