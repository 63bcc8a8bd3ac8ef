"""A cluster for the tests of the store that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otpservice.store.verifications import Verifications
from tests.support.cluster import ClusterServers, running_cluster
from tests.support.cluster_store import KEYRING, PARTITIONS, open_cluster


@pytest.fixture(scope="package")
def cluster_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    """Three primaries and no replica: what is broken here comes back as it was."""
    config = {"cluster-require-full-coverage": "no"}
    with running_cluster(tmp_path_factory.mktemp("cluster"), replicas=0, config=config) as cluster:
        yield cluster


@pytest.fixture
def cluster_store(cluster_servers: ClusterServers) -> Iterator[Verifications]:
    for server in cluster_servers.servers:
        server.ask("FLUSHALL")
    with open_cluster(cluster_servers) as client:
        yield Verifications(client, KEYRING, PARTITIONS)
