"""One running service for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import schemathesis
from schemathesis.specs.openapi.schemas import OpenApiSchema

from tests.e2e.system import Caller
from tests.fuzzing.running import running


@pytest.fixture(scope="session")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with running(tmp_path_factory.mktemp("fuzzing")) as service:
        yield service


@pytest.fixture(scope="session")
def session() -> Iterator[requests.Session]:
    """Keeps the connections."""
    with requests.Session() as session:
        yield session


@pytest.fixture(scope="session")
def api(caller: Caller) -> OpenApiSchema:
    """What the running service says of itself."""
    config = schemathesis.Config.from_dict(
        {
            "headers": {"Authorization": f"Bearer {caller.api_key}"},
            # What is well formed may still be no number that exists (422), or have ended (410).
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 400, 401, 404, 409, 410, 422]}},
        }
    )
    return schemathesis.openapi.from_url(f"{caller.url}/openapi.json", config=config)
