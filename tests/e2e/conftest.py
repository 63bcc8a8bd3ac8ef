"""A running service for the tests that can share one, and the parts for those that cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import Caller, System, system

STORES = ["valkey", "cluster"]


@pytest.fixture(scope="session", params=STORES)
def shared_system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """On one Valkey, and all again on a cluster."""
    with system(tmp_path_factory.mktemp("shared"), request.param) as parts:
        yield parts


@pytest.fixture(scope="session")
def caller(shared_system: System) -> Iterator[Caller]:
    """A tenant of a service that is left running over all tests."""
    with shared_system.serve() as running:
        yield running


@pytest.fixture(params=STORES)
def any_system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """Parts of one's own on one Valkey, and again on a cluster."""
    with system(tmp_path, request.param) as parts:
        yield parts


@pytest.fixture
def own_system(tmp_path: Path) -> Iterator[System]:
    """Parts of one's own, to break."""
    with system(tmp_path) as parts:
        yield parts
