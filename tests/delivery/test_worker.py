"""The worker against real Valkey: every send ends in a hand-over or in a recorded failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from otpservice.delivery import route as route_module
from otpservice.delivery import worker as worker_module
from otpservice.delivery.gateways.base import AnswerTimeoutError, NumberRefusedError, UnavailableError
from otpservice.store.outbox import GROUP
from otpservice.verification.lifecycle import Channel, Delivery, DeliveryState, Fallback, Outcome, Status
from tests.support.gateways import TAKEN, FakeGateway
from tests.support.policies import CODE, NUMBER, WRONG_CODE
from tests.support.store import DELIVERED, Store
from tests.support.waiting import until_async
from tests.support.workers import callback_url, running_worker

OUTBOX = "otp:{0}:outbox"
TEST_NUMBER = "+79990000001"


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


def test_a_start_is_sent_and_its_code_verifies(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        made = store.start(fallback=Fallback.VOICE).verification
        async with running_worker(store, gateway) as running:
            [found] = await running.settled(made)
        assert found.delivery == Delivery(DeliveryState.DELIVERED, Channel.TELEGRAM, None, "1.50", "first")
        [message] = gateway.messages
        assert (message.number, message.fallback) == (NUMBER, Fallback.VOICE)
        assert message.callback_url == callback_url("first", made.id, 1)
        assert store.verify(made, message.code).status is Status.VERIFIED
        assert store.outbox() == []
        assert store.client.xpending(OUTBOX, GROUP)["pending"] == 0
        assert gateway.is_closed

    run(scenario)


def test_a_code_has_the_length_that_was_asked_for_and_is_made_anew_each_time(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        made = [store.start(f"+7999000{index:04d}", code_length=4 + index % 3).verification for index in range(30)]
        async with running_worker(store, gateway) as running:
            await running.settled(*made)
        codes = {message.number: message.code for message in gateway.messages}
        assert [len(codes[f"+7999000{index:04d}"]) for index in range(30)] == [4, 5, 6] * 10
        assert len(set(codes.values())) > 25
        for index, one in enumerate(made):
            assert store.verify(one, codes[f"+7999000{index:04d}"]).status is Status.VERIFIED

    run(scenario)


def test_a_start_is_sent_while_the_worker_waits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_BLOCK_MS", 1000)

    async def scenario() -> None:
        gateway = FakeGateway()
        async with running_worker(store, gateway) as running:
            await until_async(lambda: store.client.info("clients")["blocked_clients"])
            made = store.start().verification
            await until_async(lambda: gateway.messages, seconds=0.8)  # at once, not at the next look
            await running.settled(made)

    run(scenario)


def test_while_the_gateway_answers_the_send_is_under_way_and_its_code_verifies(store: Store) -> None:
    """The gateway may have delivered already: a person who is quick is let in."""

    async def scenario() -> None:
        gateway = FakeGateway()
        gateway.opened.clear()
        made = store.start().verification
        async with running_worker(store, gateway) as running:
            await until_async(lambda: gateway.messages)
            assert store.get(made).delivery.state is DeliveryState.SENDING
            assert store.verify(made, gateway.messages[0].code).status is Status.VERIFIED
            gateway.opened.set()
            [found] = await running.settled(made)
        assert (found.status, found.delivery.state) == (Status.VERIFIED, DeliveryState.DELIVERED)

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(NumberRefusedError("number_in_spam_list"), "number_in_spam_list"), (AnswerTimeoutError("timeout"), "timeout")],
)
def test_what_no_gateway_takes_is_recorded_as_failed(store: Store, answer: Exception, reason: str) -> None:
    async def scenario() -> None:
        made = store.start().verification
        async with running_worker(store, FakeGateway([answer])) as running:
            [found] = await running.settled(made)
        assert (found.status, found.delivery) == (Status.PENDING, failed(reason, "first"))

    run(scenario)


def test_all_gateways_get_the_same_code(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_module, "_FIRST_WAIT_SECONDS", 0.01)

    async def scenario() -> None:
        first, second = FakeGateway([UnavailableError("http 500")]), FakeGateway(name="second")
        made = store.start().verification
        async with running_worker(store, first, second) as running:
            [found] = await running.settled(made)
        assert found.delivery.gateway == "second"
        assert len({message.code for message in first.messages + second.messages}) == 1
        assert store.verify(made, first.messages[0].code).status is Status.VERIFIED

    run(scenario)


def test_a_state_that_nobody_has_heard_of_is_sent_and_warns_once(store: Store) -> None:
    async def scenario() -> None:
        unknown = Outcome(DeliveryState.SENT, reason="carrier_pigeon", is_recognised=False)
        made = store.start().verification
        with capture_logs() as logs:
            async with running_worker(store, FakeGateway([unknown])) as running:
                [found] = await running.settled(made)
        assert (found.delivery.state, found.delivery.reason) == (DeliveryState.SENT, "carrier_pigeon")
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["gateway-state-unknown"]

    run(scenario)


# What is not sent


def test_a_send_past_its_deadline_is_not_sent(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        late = store.under(deadline_ms=0).start().verification
        async with running_worker(store, gateway) as running:
            [found] = await running.settled(late)
        assert (found.status, found.delivery) == (Status.PENDING, failed("deadline"))
        assert gateway.messages == []

    run(scenario)


def test_a_send_that_takes_till_its_deadline_is_recorded_so(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        gateway.opened.clear()
        made = store.under(deadline_ms=1500).start().verification
        async with running_worker(store, gateway) as running:
            [found] = await running.settled(made)
        assert found.delivery == failed("deadline", "first")

    run(scenario)


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.EXPIRED])
def test_a_verification_that_ended_before_is_not_sent(store: Store, status: Status) -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        made = store.start().verification
        store.end(made, status)
        async with running_worker(store, gateway) as running:
            [found] = await running.settled(made)
        assert (found.status, found.delivery) == (status, failed(status))
        assert gateway.messages == []

    run(scenario)


def test_a_send_that_a_resend_replaced_is_dropped(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        made = store.start().verification
        store.age(30)
        store.resend(made)
        async with running_worker(store, gateway) as running:
            [found] = await running.settled(made)
        [message] = gateway.messages
        assert message.callback_url == callback_url("first", made.id, 2)
        assert found.delivery.state is DeliveryState.DELIVERED
        assert store.verify(made, message.code).status is Status.VERIFIED

    run(scenario)


def test_a_resend_while_the_first_send_is_under_way_leaves_only_the_newest_code(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway([Outcome(DeliveryState.FAILED, reason="not_delivered"), TAKEN])
        gateway.opened.clear()
        made = store.start().verification
        async with running_worker(store, gateway) as running:
            await until_async(lambda: len(gateway.messages) == 1)
            store.age(30)
            store.resend(made)
            await until_async(lambda: len(gateway.messages) == 2)
            gateway.opened.set()
            [found] = await running.settled(made)
        assert found.delivery.state is DeliveryState.DELIVERED  # whichever answered last
        old, new = (message.code for message in gateway.messages)
        if old != new:
            with pytest.raises(Exception, match="incorrect"):
                store.verify(made, old)
        assert store.verify(made, new).status is Status.VERIFIED

    run(scenario)


def test_a_test_number_is_never_sent_and_its_code_verifies(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        made = store.start(TEST_NUMBER, code_length=6).verification
        async with running_worker(store, gateway, test_numbers={TEST_NUMBER: CODE}) as running:
            [found] = await running.settled(made)
        assert gateway.messages == []
        assert (found.delivery.state, found.delivery.reason) == (DeliveryState.SENT, "test-number")
        with pytest.raises(Exception, match="incorrect"):
            store.verify(made, WRONG_CODE)
        assert store.verify(made, CODE).status is Status.VERIFIED

    run(scenario)


def test_a_report_that_comes_before_the_answer_stays(store: Store) -> None:
    async def scenario() -> None:
        gateway = FakeGateway([Outcome(DeliveryState.SENT, Channel.SMS)])
        gateway.opened.clear()
        made = store.start().verification
        async with running_worker(store, gateway) as running:
            await until_async(lambda: gateway.messages)
            assert store.report(made, DELIVERED, gateway="first") == "recorded"
            gateway.opened.set()
            [found] = await running.settled(made)
        assert found.delivery.state is DeliveryState.DELIVERED

    run(scenario)
