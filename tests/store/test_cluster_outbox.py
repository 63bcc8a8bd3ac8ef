"""The outbox on a cluster: every partition is read, fairly, at once, and whatever becomes of a node."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from otpservice.store import keys, opening
from otpservice.store.cluster_outbox import ClusterOutbox
from otpservice.store.outbox import Armed, Entry, Outbox
from otpservice.store.verifications import Verifications
from otpservice.verification.errors import StoreUnavailableError
from otpservice.verification.lifecycle import Channel, DeliveryState, Outcome, Status
from tests.support.cluster import ClusterServers
from tests.support.cluster_store import CODE, KEYRING, PARTITIONS, POLICY, standing_still, start


@pytest.fixture
def servers(cluster_servers: ClusterServers) -> ClusterServers:
    return cluster_servers


@pytest.fixture
def store(cluster_store: Verifications) -> Verifications:
    return cluster_store


Scenario = Callable[[Callable[[], Awaitable[Outbox]]], Awaitable[None]]


def run(servers: ClusterServers, scenario: Scenario) -> None:
    """Run with a way to open outboxes of one consumer each."""

    async def main() -> None:
        opened: list[Outbox] = []

        async def open_outbox() -> Outbox:
            consumer = f"worker-{len(opened)}-{os.urandom(4).hex()}"
            outbox = opening.open_outbox(servers.url, None, KEYRING, PARTITIONS, consumer)
            assert isinstance(outbox, ClusterOutbox)
            opened.append(outbox)
            await outbox.prepare()
            return outbox

        try:
            async with asyncio.timeout(60):
                await scenario(open_outbox)
        finally:
            for outbox in opened:
                await outbox.aclose()

    asyncio.run(main())


async def read(outbox: Outbox, wanted: int) -> list[Entry]:
    """Read until as many sends have come."""
    entries: list[Entry] = []
    while len(entries) < wanted:
        entries += await outbox.read(100, 1000)
    return entries


def test_a_send_goes_its_whole_way_on_every_partition(servers: ClusterServers, store: Verifications) -> None:
    made = {start(store, on=lambda each: each == place).id for place in range(PARTITIONS)}  # noqa: B023

    async def scenario(open_outbox: Callable[[], Awaitable[Outbox]]) -> None:
        outbox = await open_outbox()
        entries = await read(outbox, PARTITIONS)
        assert {entry.id for entry in entries} == made
        await outbox.keep(entries)
        for entry in entries:
            assert isinstance(await outbox.arm(entry, CODE), Armed)
            assert await outbox.settle(entry, Outcome(DeliveryState.DELIVERED, Channel.TELEGRAM), "mobilgroup")
        assert await outbox.read(100, 0) == []
        await outbox.forget_dead_consumers()

    run(servers, scenario)
    for id_ in made:
        assert store.verify(id_, CODE, None, POLICY).status is Status.VERIFIED


def test_a_start_is_read_at_once(servers: ClusterServers, store: Verifications) -> None:
    """The bell is heard: no send waits for the sweep of every second."""

    async def scenario(open_outbox: Callable[[], Awaitable[Outbox]]) -> None:
        outbox = await open_outbox()
        await outbox.read(1, 100)
        seconds = []
        for _ in range(30):
            reading = asyncio.create_task(read(outbox, 1))
            await asyncio.to_thread(start, store)
            began = time.monotonic()
            await reading
            seconds.append(time.monotonic() - began)
        assert sorted(seconds)[15] < 0.1

    run(servers, scenario)


def test_a_bell_that_nobody_heard_delays_a_send_and_loses_it_not(
    servers: ClusterServers, store: Verifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "OUTBOX_BELL", "otp:another")
    made = start(store)

    async def scenario(open_outbox: Callable[[], Awaitable[Outbox]]) -> None:
        outbox = await open_outbox()
        assert [entry.id for entry in await read(outbox, 1)] == [made.id]
        later = await asyncio.to_thread(start, store)
        assert [entry.id for entry in await read(outbox, 1)] == [later.id]

    run(servers, scenario)


def test_a_full_partition_keeps_no_other_waiting(servers: ClusterServers, store: Verifications) -> None:
    for _ in range(300):
        start(store, on=lambda each: each == 3)
    for place in range(PARTITIONS):
        start(store, on=lambda each: each == place)  # noqa: B023

    async def scenario(open_outbox: Callable[[], Awaitable[Outbox]]) -> None:
        outbox = await open_outbox()
        seen: Counter[int] = Counter()
        while len(seen) < PARTITIONS:
            entries = await outbox.read(16, 1000)
            seen.update(entry.partition for entry in entries)
        # All have had their turn while most of the full one's sends still wait.
        assert seen[3] < 100
        await read(outbox, 300 + PARTITIONS - seen.total())

    run(servers, scenario)


def test_a_new_worker_takes_its_share(servers: ClusterServers, store: Verifications) -> None:
    async def scenario(open_outbox: Callable[[], Awaitable[Outbox]]) -> None:
        taken: Counter[str] = Counter()
        all_started = asyncio.Event()

        async def work(name: str, outbox: Outbox) -> None:
            while not (all_started.is_set() and taken.total() == 400):
                for entry in await outbox.read(10, 50):
                    taken[name] += 1
                    await outbox.settle(entry, None)

        old = asyncio.create_task(work("old", await open_outbox()))
        for _ in range(100):
            await asyncio.to_thread(start, store)
        assert set(taken) == {"old"}
        while taken.total() < 100:
            await asyncio.sleep(0.01)
        new = asyncio.create_task(work("new", await open_outbox()))
        for _ in range(300):
            await asyncio.to_thread(start, store)
        all_started.set()
        await asyncio.gather(old, new)
        assert taken["new"] >= 60  # of 300 that both could have had

    run(servers, scenario)


def test_what_a_dead_worker_left_is_claimed(servers: ClusterServers, store: Verifications) -> None:
    made = {start(store).id for _ in range(20)}

    async def scenario(open_outbox: Callable[[], Awaitable[Outbox]]) -> None:
        dead, heir = await open_outbox(), await open_outbox()
        kept, *left = await read(dead, 20)
        await asyncio.sleep(0.2)
        await dead.keep([kept])
        claimed = await heir.claim(150, 100)
        assert {entry.id for entry in claimed} == {entry.id for entry in left} == made - {kept.id}

    run(servers, scenario)


def test_a_node_that_stands_still_keeps_no_other_nodes_sends_waiting(
    servers: ClusterServers, store: Verifications
) -> None:
    hanging = servers.owner(keys.outbox(0))
    elsewhere = {each for each in range(PARTITIONS) if servers.owner(keys.outbox(each)) is not hanging}

    async def scenario(open_outbox: Callable[[], Awaitable[Outbox]]) -> None:
        outbox = await open_outbox()
        await outbox.read(1, 0)
        with standing_still(hanging):
            for _ in range(5):
                made = await asyncio.to_thread(start, store, on=elsewhere.__contains__)
                began = time.monotonic()
                [entry] = await read(outbox, 1)
                assert entry.id == made.id
                # The sweep of a second at worst, where the bell hung there too.
                assert time.monotonic() - began < 1.6

    run(servers, scenario)


def test_an_outbox_that_went_away_is_made_again(servers: ClusterServers, store: Verifications) -> None:
    async def scenario(open_outbox: Callable[[], Awaitable[Outbox]]) -> None:
        outbox = await open_outbox()
        await outbox.read(1, 0)
        for server in servers.servers:
            server.ask("FLUSHALL")
        made = await asyncio.to_thread(start, store)
        assert [entry.id for entry in await read(outbox, 1)] == [made.id]

    run(servers, scenario)


def test_without_any_node_the_outbox_is_unavailable(servers: ClusterServers) -> None:
    async def main() -> None:
        url = "redis+cluster://127.0.0.1:1"
        outbox = opening.open_outbox(url, None, KEYRING, PARTITIONS, "nobody")
        with pytest.raises(StoreUnavailableError):
            await outbox.prepare()
        with pytest.raises(StoreUnavailableError):
            await outbox.read(1, 10)
        await outbox.aclose()

    asyncio.run(main())
