"""Many sends, several workers, careless gateways: room is kept to, and nothing that is secret gets out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from otpservice.delivery import worker as worker_module
from otpservice.store.outbox import GROUP
from otpservice.verification.lifecycle import Delivery, DeliveryState, Outcome
from tests.support.gateways import FakeGateway
from tests.support.policies import NUMBER
from tests.support.redis import dump
from tests.support.store import Store
from tests.support.waiting import until_async
from tests.support.workers import running_worker

OUTBOX = "otp:{0}:outbox"


@pytest.fixture
def store(valkey_store: Store) -> Store:
    return valkey_store


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(main())


def failed(reason: str, gateway: str | None = None) -> Delivery:
    return Delivery(DeliveryState.FAILED, None, reason, None, gateway)


def test_a_gateway_s_defect_is_recorded_and_its_text_goes_nowhere(store: Store) -> None:
    class Careless(FakeGateway):
        async def send(self, message: Any) -> Outcome:
            self.messages.append(message)
            raise ValueError(f"cannot send {message.code} to {message.number}")

    async def scenario() -> None:
        gateway = Careless()
        made, other = store.start().verification, store.start().verification
        with capture_logs() as logs:
            async with running_worker(store, gateway) as running:
                found = await running.settled(made, other)
        assert [one.delivery for one in found] == [failed("internal-error")] * 2
        defects = [entry for entry in logs if entry["event"] == "send-defect"]
        assert [entry["error"] for entry in defects] == ["ValueError"] * 2
        assert "send (test_worker_load.py" in defects[0]["frames"][-1]
        for message in gateway.messages:
            assert message.code not in str(logs)
        assert NUMBER[1:] not in str(logs)

    run(scenario)


def test_a_worker_takes_no_more_than_it_has_room_for(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway(max_in_flight=3)
        gateway.opened.clear()
        made = [store.start(f"+7999000{index:04d}").verification for index in range(30)]
        async with running_worker(store, gateway) as running:
            await until_async(lambda: gateway.in_flight == 3)
            await until_async(lambda: store.client.xpending(OUTBOX, GROUP)["pending"] == 6)
            store.start()  # nothing of what comes meanwhile is read
            assert store.client.xpending(OUTBOX, GROUP)["pending"] == 6
            gateway.opened.set()
            found = await running.settled(*made)
        assert {one.delivery.state for one in found} == {DeliveryState.DELIVERED}
        assert gateway.most_in_flight == 3

    run(scenario)


def test_a_full_worker_lets_room_gather_before_it_reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would ask Redis for each send that ends."""
    monkeypatch.setattr(worker_module, "_GATHER_SECONDS", 60)

    async def scenario() -> None:
        gateway = FakeGateway(max_in_flight=3)
        gateway.opened.clear()
        for index in range(10):
            store.start(f"+7999000{index:04d}")
        async with running_worker(store, gateway) as running:
            await until_async(lambda: gateway.in_flight == 3)
            await until_async(lambda: store.client.xpending(OUTBOX, GROUP)["pending"] == 6)
            gateway.opened.set()
            await until_async(lambda: len(store.outbox()) == 4)
            await running.stop()  # which waits for no room
        assert len(gateway.messages) == 6

    run(scenario)


def test_each_send_is_one_line_with_the_number_masked(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        made = store.start().verification
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            async with running_worker(store, gateway) as running:
                await running.settled(made)
        [line] = [entry for entry in logs if entry["event"] == "send"]
        assert line.pop("duration_ms") >= 0
        assert line == {
            "event": "send",
            "log_level": "info",
            "verification": made.id,
            "send": 1,
            "tenant": "login",
            "number": "+7999*****67",
            "gateway": "first",
            "state": "delivered",
            "channel": "telegram",
            "reason": None,
            "price": "1.50",
            "recorded": True,
        }
        for secret in (gateway.messages[0].code, NUMBER[1:]):
            assert secret not in str(logs)

    run(scenario)


def test_no_code_is_ever_in_redis(store: Store) -> None:
    """Six digits are found in a dump by chance, so each code is looked for among the values as a whole."""

    async def scenario() -> None:
        gateway = FakeGateway()
        seen: list[str] = []
        gateway.opened.clear()
        made = [store.start(f"+7999000{index:04d}").verification for index in range(10)]
        async with running_worker(store, gateway) as running:
            await until_async(lambda: len(gateway.messages) == 10)
            seen.append(str(dump(store.client)))
            gateway.opened.set()
            await running.settled(*made)
            seen.append(str(dump(store.client)))
        for message in gateway.messages:
            assert not any(f"'{message.code}'" in text for text in seen)

    run(scenario)


def test_two_workers_share_the_sends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_BATCH", 1)

    async def scenario() -> None:
        one, other = FakeGateway(), FakeGateway()
        made = [store.start(f"+7999000{index:04d}").verification for index in range(40)]
        async with running_worker(store, one) as first, running_worker(store, other):
            await first.settled(*made)
        assert len(one.messages) + len(other.messages) == 40
        assert min(len(one.messages), len(other.messages)) > 0
        assert {message.number for message in one.messages} & {message.number for message in other.messages} == set()

    run(scenario)


def test_every_partition_is_worked_on(store: Store) -> None:
    async def scenario() -> None:
        wide = Store(store.client, partitions=16)
        made = [wide.start(f"+7999000{index:04d}").verification for index in range(20)]
        async with running_worker(wide, FakeGateway()) as running:
            found = await running.settled(*made)
        assert {one.delivery.state for one in found} == {DeliveryState.DELIVERED}

    run(scenario)
