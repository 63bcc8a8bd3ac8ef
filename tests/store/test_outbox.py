"""The outbox: every send is read by one worker, and by another when that one is dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import redis

from otpservice.store import outbox as outbox_module
from otpservice.store.outbox import GROUP, Armed, Entry, Outbox, Refused
from otpservice.verification.errors import StoreUnavailableError
from otpservice.verification.lifecycle import DeliveryState, Fallback, Status
from tests.support.outbox import Outboxes, outboxes
from tests.support.policies import CODE, GATEWAY, NUMBER, OTHER_NUMBER
from tests.support.redis import calls_of, running_valkey
from tests.support.store import SENT, Store, replace_store

OUTBOX = "otp:{0}:outbox"


def run(store: Store, scenario: Callable[[Outboxes], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), outboxes(store) as opened:
            await scenario(opened)

    asyncio.run(main())


async def read_one(outbox: Outbox) -> Entry:
    [entry] = await outbox.read(10, 1000)
    return entry


def test_a_start_is_read_as_it_was_queued(store: Store) -> None:
    made = store.start(code_length=5).verification

    async def scenario(opened: Outboxes) -> None:
        entry = await read_one(await opened.open())
        assert (entry.partition, entry.id, entry.send, entry.code_length) == (0, made.id, 1, 5)
        assert entry.deadline == made.created_at + store.policy.deadline_ms

    run(store, scenario)


def test_a_send_is_read_by_one_worker(store: Store) -> None:
    made = {store.start(f"+7999000060{index}").verification.id for index in range(6)}

    async def scenario(opened: Outboxes) -> None:
        first, second = await opened.open(), await opened.open()
        some, others = await first.read(4, 10), await second.read(4, 10)
        assert (len(some), len(others)) == (4, 2)
        assert {entry.id for entry in [*some, *others]} == made
        assert await first.read(4, 10) == []

    run(store, scenario)


def test_sends_that_were_queued_before_any_worker_came_are_read(store: Store) -> None:
    made = store.start().verification
    assert store.client.xinfo_groups(OUTBOX) == []

    async def scenario(opened: Outboxes) -> None:
        assert (await read_one(await opened.open())).id == made.id

    run(store, scenario)


def test_preparing_again_changes_nothing(store: Store) -> None:
    store.start()

    async def scenario(opened: Outboxes) -> None:
        outbox = await opened.open()
        await read_one(outbox)
        before = store.dump()
        await outbox.prepare()
        assert store.dump() == before
        assert await outbox.read(1, 10) == []

    run(store, scenario)


def test_a_blocked_reader_gets_a_start_as_it_comes(valkey_store: Store) -> None:
    """On real Valkey alone: fakeredis does not tell whether a client is blocked."""

    async def scenario(opened: Outboxes) -> None:
        reading = asyncio.create_task((await opened.open()).read(1, 2000))
        while not valkey_store.client.info("clients")["blocked_clients"]:
            await asyncio.sleep(0.01)
        made = (await asyncio.to_thread(valkey_store.start)).verification
        [entry] = await reading
        assert entry.id == made.id

    run(valkey_store, scenario)


def test_arming_makes_the_code_verify(store: Store) -> None:
    made = store.start(fallback=Fallback.VOICE).verification

    async def scenario(opened: Outboxes) -> None:
        outbox = await opened.open()
        armed = await outbox.arm(await read_one(outbox), CODE)
        assert isinstance(armed, Armed)
        assert (armed.tenant, armed.number, armed.fallback) == ("login", NUMBER, Fallback.VOICE)
        assert 0 < armed.left_ms <= store.policy.deadline_ms
        assert NUMBER not in repr(armed)

    run(store, scenario)
    assert store.verify(made).status is Status.VERIFIED


def test_what_may_not_be_sent_is_refused_with_what_to_record(store: Store) -> None:
    late = store.under(deadline_ms=0).start().verification
    cancelled = store.start(OTHER_NUMBER).verification
    store.cancel(cancelled)
    gone = store.start("+79990000003").verification
    store.client.delete(f"otp:{{0}}:v:{gone.id}")

    async def scenario(opened: Outboxes) -> None:
        outbox = await opened.open()
        refused = {entry.id: await outbox.arm(entry, CODE) for entry in await outbox.read(10, 10)}
        assert refused == {late.id: Refused("deadline"), cancelled.id: Refused("cancelled"), gone.id: Refused(None)}

    run(store, scenario)


def test_settling_records_and_acknowledges(store: Store) -> None:
    made = store.start().verification

    async def scenario(opened: Outboxes) -> None:
        outbox = await opened.open()
        entry = await read_one(outbox)
        await outbox.arm(entry, CODE)
        assert await outbox.settle(entry, SENT, GATEWAY)
        assert store.client.xpending(OUTBOX, GROUP)["pending"] == 0
        assert not await outbox.settle(entry, None)

    run(store, scenario)
    assert store.outbox() == []
    assert store.get(made).delivery.state is DeliveryState.SENT


def test_what_a_dead_worker_left_goes_to_another(store: Store) -> None:
    made = store.start().verification

    async def scenario(opened: Outboxes) -> None:
        dead, alive = await opened.open("dead"), await opened.open("alive")
        left = await read_one(dead)
        assert await alive.claim(60_000, 10) == []
        assert await alive.claim(0, 10) == [left]
        assert left.id == made.id
        # The one that was not dead after all finds that it is too late to send.
        armed = await alive.arm(left, CODE)
        assert isinstance(armed, Armed)
        assert await alive.settle(left, SENT, GATEWAY, armed=armed)
        assert await dead.arm(left, "000000") == Refused(None)

    run(store, scenario)
    assert store.verify(made).status is Status.VERIFIED


def test_what_is_kept_is_not_claimed(store: Store) -> None:
    store.start()
    store.start(OTHER_NUMBER)

    async def scenario(opened: Outboxes) -> None:
        busy, other = await opened.open("busy"), await opened.open("other")
        kept, left = await busy.read(10, 10)
        await asyncio.sleep(0.1)
        await busy.keep([kept])
        assert await other.claim(50, 10) == [left]
        pending = store.client.xpending_range(OUTBOX, GROUP, "-", "+", 10)
        assert {entry["message_id"]: entry["consumer"] for entry in pending} == {
            kept.entry_id: "busy",
            left.entry_id: "other",
        }

    run(store, scenario)


def test_many_are_kept_a_few_at_a_time(valkey_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis serves nobody else while it looks for thousands of entries."""
    monkeypatch.setattr(outbox_module, "_MOST_KEPT_AT_ONCE", 2)
    for index in range(5):
        valkey_store.start(f"+7999000060{index}")

    async def scenario(opened: Outboxes) -> None:
        busy, other = await opened.open("busy"), await opened.open("other")
        kept = await busy.read(10, 10)
        calls = calls_of(valkey_store.client, "xclaim")
        await asyncio.sleep(0.1)
        await busy.keep(kept)
        assert await other.claim(50, 10) == []
        assert calls_of(valkey_store.client, "xclaim") - calls == 3

    run(valkey_store, scenario)


def test_keeping_what_is_settled_does_not_bring_it_back(store: Store) -> None:
    store.start()

    async def scenario(opened: Outboxes) -> None:
        outbox = await opened.open()
        entry = await read_one(outbox)
        await outbox.settle(entry, None)
        await outbox.keep([entry])
        await outbox.keep([])
        assert store.client.xpending(OUTBOX, GROUP)["pending"] == 0

    run(store, scenario)


def test_a_reader_outlives_its_outbox(valkey_store: Store) -> None:
    """On real Valkey alone: fakeredis says something else than NOGROUP."""

    async def scenario(opened: Outboxes) -> None:
        outbox = await opened.open()
        valkey_store.client.delete(OUTBOX)
        assert await outbox.read(10, 10) == []
        made = valkey_store.start().verification
        assert (await read_one(outbox)).id == made.id
        valkey_store.client.delete(OUTBOX)
        assert await outbox.claim(0, 10) == []
        made = valkey_store.start().verification
        assert (await read_one(outbox)).id == made.id
        assert 0 < valkey_store.client.pttl(OUTBOX) <= 86_400_000

    run(valkey_store, scenario)


def test_a_blocked_reader_outlives_its_outbox(valkey_store: Store) -> None:
    async def scenario(opened: Outboxes) -> None:
        outbox = await opened.open()
        reading = asyncio.create_task(outbox.read(1, 2000))
        while not valkey_store.client.info("clients")["blocked_clients"]:
            await asyncio.sleep(0.01)
        valkey_store.client.delete(OUTBOX)
        assert await reading == []
        made = valkey_store.start().verification
        assert (await read_one(outbox)).id == made.id

    run(valkey_store, scenario)


def test_outboxes_beyond_the_configured_partitions_are_found(store: Store) -> None:
    wide = replace_store(store, partitions=16)
    made = {wide.start(f"+799900007{index:02d}").verification.id for index in range(12)}

    async def scenario(opened: Outboxes) -> None:
        narrow = await opened.open(partitions=1)
        entries = await narrow.read(100, 10)
        assert {entry.id for entry in entries} == made
        assert len({entry.partition for entry in entries}) > 4
        for entry in entries:
            assert isinstance(await narrow.arm(entry, CODE), Armed)
            await narrow.settle(entry, SENT, GATEWAY)

    run(store, scenario)
    assert store.outbox() == []


def test_names_of_dead_workers_are_forgotten_once_they_left_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "FORGET_CONSUMER_AFTER_MS", 20)
    store.start()

    async def scenario(opened: Outboxes) -> None:
        holder, idle, tidy = await opened.open("holder"), await opened.open("idle"), await opened.open("tidy")
        entry = await read_one(holder)
        await idle.read(1, 10)
        await asyncio.sleep(0.05)
        await tidy.forget_dead_consumers()
        assert _consumers(store.client) == {"holder"}
        await holder.settle(entry, None)
        await asyncio.sleep(0.05)
        await tidy.forget_dead_consumers()
        assert _consumers(store.client) == set()

    run(store, scenario)


def test_names_of_living_workers_are_not_forgotten(store: Store) -> None:
    async def scenario(opened: Outboxes) -> None:
        await (await opened.open("alive")).read(1, 10)
        await (await opened.open("tidy")).forget_dead_consumers()
        assert "alive" in _consumers(store.client)
        store.client.delete(OUTBOX)
        await (await opened.open("tidy")).forget_dead_consumers()

    run(store, scenario)


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "v00" + "a" * 22, "send": "1", "deadline": "1", "code_length": "6"},
        {"send": "v00" + "a" * 22 + " 1 1"},
        {"send": "v00" + "a" * 22 + " one 1 6"},
        {"other": "1"},
    ],
)
def test_what_is_no_send_is_dropped_and_holds_up_no_worker(store: Store, fields: dict[Any, Any]) -> None:
    store.client.xadd(OUTBOX, fields)
    made = store.start().verification

    async def scenario(opened: Outboxes) -> None:
        outbox = await opened.open()
        assert (await read_one(outbox)).id == made.id
        assert [sent["id"] for sent in store.outbox()] == [made.id]
        assert await outbox.claim(0, 10) != []  # the send, which is still to be settled
        assert store.client.xpending(OUTBOX, GROUP)["pending"] == 1

    run(store, scenario)


def _consumers(client: redis.Redis) -> set[str]:
    return {consumer["name"] for consumer in client.xinfo_consumers(OUTBOX, GROUP)}


def test_an_outbox_without_redis_is_unavailable() -> None:
    async def scenario(opened: Outboxes) -> None:
        outbox = await opened.open()
        entry = Entry(0, "0-1", "v00" + "a" * 22, 1, 0, 6)
        server.terminate()
        for call in (
            outbox.prepare(),
            outbox.read(1, 10),
            outbox.claim(0, 1),
            outbox.keep([entry]),
            outbox.forget_dead_consumers(),
            outbox.arm(entry, CODE),
            outbox.settle(entry, SENT, GATEWAY),
        ):
            with pytest.raises(StoreUnavailableError) as refusal:
                await call
            assert CODE not in str(refusal.value)

    with running_valkey() as server:
        options = {"host": server.host, "port": server.port, "decode_responses": True}
        with redis.Redis(**options) as client:
            run(Store(client), scenario)
