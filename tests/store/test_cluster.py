"""On a cluster: every command goes to the node that owns its key, once at most, and in time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from redis.crc import key_slot

from otpservice.store import keys, scripts
from otpservice.store.records import Start
from otpservice.store.verifications import Verifications
from otpservice.verification.abuse import PrefixLimit
from otpservice.verification.errors import IncorrectCodeError, RateLimitedError, StoreUnavailableError
from otpservice.verification.lifecycle import Fallback, Status, Verification
from otpservice.verification.limits import Rule
from tests.support.cluster import ClusterServers, Server, until
from tests.support.cluster_store import (
    CODE,
    KEYRING,
    PARTITIONS,
    POLICY,
    WRONG_CODE,
    evaluations,
    key_of,
    numbers,
    open_cluster,
    partition,
    partition_of_number,
    sent,
    standing_still,
    start,
)

PROMISED_SECONDS = 2.0


@pytest.fixture
def servers(cluster_servers: ClusterServers) -> ClusterServers:
    return cluster_servers


@pytest.fixture
def store(cluster_store: Verifications) -> Verifications:
    return cluster_store


def miss(store: Verifications, made: Verification) -> int:
    """Hand in a wrong code; the attempts that are left."""
    with pytest.raises(IncorrectCodeError) as refusal:
        store.verify(made.id, WRONG_CODE, None, POLICY)
    return refusal.value.attempts_left


def assert_unavailable(act: Callable[[], Any]) -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        act()
    assert time.monotonic() - began < PROMISED_SECONDS


def test_the_partitions_are_spread_over_all_nodes(servers: ClusterServers) -> None:
    owners = {servers.owner(keys.outbox(partition)).port for partition in range(PARTITIONS)}
    assert owners == {server.port for server in servers.servers}


def test_a_verification_lives_on_every_node(servers: ClusterServers, store: Verifications) -> None:
    for place in range(PARTITIONS):
        made = sent(servers, store, on=lambda partition: partition == place)  # noqa: B023
        assert miss(store, made) == 4
        assert store.verify(made.id, CODE, None, POLICY).status is Status.VERIFIED
        assert store.get(made.id, POLICY).status is Status.VERIFIED


def test_a_verify_is_one_command_to_one_node(servers: ClusterServers, store: Verifications) -> None:
    made = sent(servers, store)
    miss(store, made)
    before = [evaluations(server) for server in servers.servers]
    miss(store, made)
    after = [evaluations(server) for server in servers.servers]
    assert sum(after) - sum(before) == 1


def test_each_node_is_taught_the_scripts_that_it_does_not_know(servers: ClusterServers, store: Verifications) -> None:
    made = [sent(servers, store, on=lambda partition: partition == place) for place in range(PARTITIONS)]  # noqa: B023
    for server in servers.servers:
        server.ask("SCRIPT FLUSH")
    assert [miss(store, each) for each in made] == [4] * PARTITIONS
    for server in servers.servers:
        assert server.ask("SCRIPT EXISTS", scripts.VERIFY.sha) == [True]


@contextmanager
def migrating(servers: ClusterServers, made: Verification) -> Iterator[tuple[Server, Server]]:
    """The slot of a verification is on its way to another node, which has its key already."""
    source = servers.owner(key_of(made))
    target = next(server for server in servers.servers if server is not source)
    slot = key_slot(key_of(made).encode())
    target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.ask("CLUSTER MYID"))
    source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target.ask("CLUSTER MYID"))
    names = source.ask("CLUSTER GETKEYSINSLOT", slot, 1000)
    source.ask("MIGRATE", *target.node, "", 0, 5000, "KEYS", *names)
    yield source, target
    for server in servers.servers:
        server.ask("CLUSTER SETSLOT", slot, "NODE", target.ask("CLUSTER MYID"))


def test_what_is_being_moved_to_another_node_is_found_there(servers: ClusterServers, store: Verifications) -> None:
    made = sent(servers, store)
    assert miss(store, made) == 4
    with migrating(servers, made) as (source, target):
        before = evaluations(target)
        assert miss(store, made) == 3  # ASK
        assert evaluations(target) > before
        assert store.verify(made.id, CODE, None, POLICY).status is Status.VERIFIED
    assert servers.owner(key_of(made)) is target
    assert store.get(made.id, POLICY).status is Status.VERIFIED  # MOVED
    until(lambda: _asks_only(store, made, source, target), "the move to be learnt")


def _asks_only(store: Verifications, made: Verification, source: Server, target: Server) -> bool:
    before = evaluations(source), evaluations(target)
    store.get(made.id, POLICY)
    return (evaluations(source), evaluations(target)) == (before[0], before[1] + 1)


def test_a_verify_whose_answer_was_lost_is_sent_once(servers: ClusterServers, store: Verifications) -> None:
    """A client that sent it again, as redis-py's does by itself, would have it counted in the end."""
    made = sent(servers, store)
    assert miss(store, made) == 4
    owner = servers.owner(key_of(made))
    before = evaluations(owner)
    with standing_still(owner):
        assert_unavailable(lambda: store.verify(made.id, WRONG_CODE, None, POLICY))
    until(lambda: evaluations(owner) > before, "the command that was under way")
    assert evaluations(owner) == before + 1
    assert store.get(made.id, POLICY).attempts_left == 4  # the node got to it when the caller had given up


def test_a_node_that_stands_still_is_503_in_time_and_no_other_notices(
    servers: ClusterServers, store: Verifications
) -> None:
    made = [sent(servers, store, on=lambda partition: partition == place) for place in range(PARTITIONS)]  # noqa: B023
    hanging = servers.owner(key_of(made[0]))
    owners = {each.id: servers.owner(key_of(each)) for each in made}
    with standing_still(hanging):
        refused = threading.Thread(target=assert_unavailable, args=(lambda: store.get(made[0].id, POLICY),))
        refused.start()
        served = [each for each in made if owners[each.id] is not hanging]
        for each in served:
            began = time.monotonic()
            assert store.verify(each.id, CODE, None, POLICY).status is Status.VERIFIED
            assert time.monotonic() - began < 0.5
        refused.join()
        assert len(served) >= PARTITIONS // 3
    until(lambda: is_served(store, made[0]), "the node to be back")


def test_a_cluster_is_ready_while_any_of_its_nodes_is(servers: ClusterServers, store: Verifications) -> None:
    for hanging in servers.servers:
        until(lambda: _works(store), "the cluster to be ready")
        with standing_still(hanging):
            with suppress(StoreUnavailableError):  # the check that finds it out
                store.check()
            store.check()


def is_served(store: Verifications, made: Verification) -> bool:
    with suppress(StoreUnavailableError):
        return store.get(made.id, POLICY).id == made.id
    return False


def test_a_client_that_finds_every_node_standing_still_says_so_in_time(servers: ClusterServers) -> None:
    with open_cluster(servers) as client:
        store = Verifications(client, KEYRING, PARTITIONS)
        for server in servers.servers:
            server.signal(signal.SIGSTOP)
        try:
            for act in (store.check, lambda: start(store)):
                assert_unavailable(act)
        finally:
            for server in servers.servers:
                server.signal(signal.SIGCONT)
        until(lambda: _works(store), "the same client to work")


def _works(store: Verifications) -> bool:
    with suppress(StoreUnavailableError):
        store.check()
        return True
    return False


def test_a_node_that_is_gone_is_unavailable_and_back_when_it_is(servers: ClusterServers, store: Verifications) -> None:
    made = sent(servers, store)
    owner = servers.owner(key_of(made))
    owner.signal(signal.SIGKILL)
    try:
        for _ in range(3):
            assert_unavailable(lambda: store.verify(made.id, CODE, None, POLICY))
    finally:
        owner.start()
    until(servers.is_whole, "the cluster to be whole")
    fresh = sent(servers, store, on=lambda each: each == partition(made))
    assert store.verify(fresh.id, CODE, None, POLICY).status is Status.VERIFIED


def test_a_waiter_is_woken_on_every_node(servers: ClusterServers, store: Verifications) -> None:
    for server in servers.servers:
        made = start(store, on=lambda each: servers.owner(keys.outbox(each)) is server)  # noqa: B023
        found: list[Verification] = []
        waiter = threading.Thread(target=lambda: found.append(store.wait(made.id, POLICY, 20)))  # noqa: B023
        waiter.start()
        until(lambda: server.ask("PUBSUB NUMSUB", key_of(made))[0][1], "the waiter to listen")  # noqa: B023
        began = time.monotonic()
        store.cancel(made.id, POLICY)
        waiter.join()
        assert found[0].status is Status.CANCELLED
        assert time.monotonic() - began < 1


def test_limits_of_an_address_live_on_a_node_of_their_own(servers: ClusterServers, store: Verifications) -> None:

    policy = replace(POLICY, ip_rules=(Rule(2, 3600),))
    requests = [Start(next(numbers), Fallback.SMS, 6, ip="192.0.2.1") for _ in range(3)]
    for request in requests[:2]:
        store.start(request, policy)
    with pytest.raises(RateLimitedError):
        store.start(requests[2], policy)


def test_what_a_tenant_spends_counts_over_all_nodes(servers: ClusterServers, store: Verifications) -> None:
    """And limits of the tenant and of a prefix, each on a node of its own, are asked besides."""
    rules = (Rule(100, 3600),)
    policy = replace(
        POLICY,
        daily_budget=PARTITIONS * 1_000_000,
        estimated_price=1_000_000,
        tenant_rules=rules,
        prefix=PrefixLimit(7, rules),
    )
    for place in range(PARTITIONS):
        number = next(each for each in numbers if partition_of_number(each) == place)
        store.start(Start(number, Fallback.SMS, 6, idempotency_key="once", ip="192.0.2.1"), policy)
    with pytest.raises(RateLimitedError) as refusal:
        store.start(Start(next(numbers), Fallback.SMS, 6), policy)
    assert refusal.value.limit == "budget"
