"""A running service for the tests that can share one, and the parts for those that cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import Caller, System, system


@pytest.fixture(scope="session")
def shared_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("shared")) as parts:
        yield parts


@pytest.fixture(scope="session")
def caller(shared_system: System) -> Iterator[Caller]:
    """A tenant of a service that is left running over all tests."""
    with shared_system.serve() as running:
        yield running


@pytest.fixture
def own_system(tmp_path: Path) -> Iterator[System]:
    """Parts of one's own, to break."""
    with system(tmp_path) as parts:
        yield parts
