"""The route: which gateway is asked, how often, and what is recorded in the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest
import stamina.instrumentation
from structlog.testing import capture_logs

from otpservice.delivery import route as route_module
from otpservice.delivery.gateways.base import (
    AnswerTimeoutError,
    DefectError,
    GatewayError,
    Message,
    NumberRefusedError,
    UnavailableError,
)
from otpservice.delivery.route import HandOver, Route
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback, Outcome
from tests.support.gateways import TAKEN, FakeGateway
from tests.support.policies import CODE, NUMBER
from tests.support.waiting import until_async

DOWN = UnavailableError("http 500")
BY_SMS = Outcome(DeliveryState.SENT, Channel.SMS)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_module, "_FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(route_module, "_LONGEST_WAIT_SECONDS", 0.05)


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def message_for(gateway: str) -> Message:
    return Message(NUMBER, CODE, Fallback.SMS, f"https://otp.example.com/{gateway}")


def send(*gateways: FakeGateway, seconds: float = 20) -> HandOver:
    """One send over a fresh route."""
    return asyncio.run(Route(gateways, Clock()).send(message_for, seconds))


def failed(reason: str, gateway: str | None) -> HandOver:
    return HandOver(Outcome(DeliveryState.FAILED, reason=reason), gateway)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await scenario

    asyncio.run(main())


def test_the_first_gateway_that_takes_it_has_it() -> None:
    first, second = FakeGateway(), FakeGateway(name="second")
    assert send(first, second) == HandOver(TAKEN, "first")
    assert first.messages == [message_for("first")]
    assert second.messages == []


def test_a_gateway_that_fails_twice_and_then_works_takes_it() -> None:
    first, second = FakeGateway([DOWN, DOWN, TAKEN]), FakeGateway(name="second")
    assert send(first, second) == HandOver(TAKEN, "first")
    assert first.messages == [message_for("first")] * 3
    assert second.messages == []


def test_a_gateway_that_fails_three_times_is_left_for_the_next_with_the_same_code() -> None:
    first, second = FakeGateway([DOWN]), FakeGateway([BY_SMS], name="second")
    assert send(first, second) == HandOver(BY_SMS, "second")
    assert len(first.messages) == 3
    assert [(message.code, message.callback_url) for message in second.messages] == [
        (CODE, "https://otp.example.com/second")
    ]


def test_when_all_gateways_fail_the_last_reason_is_recorded() -> None:
    first, second = FakeGateway([DOWN]), FakeGateway([UnavailableError("unreachable")], name="second")
    assert send(first, second) == failed("unreachable", "second")


def test_retries_wait_longer_each_time_and_never_exactly_as_long_as_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all that failed together would come again together."""
    monkeypatch.setattr(route_module, "_LONGEST_WAIT_SECONDS", 2.0)
    waits: list[float] = []
    hooks = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([lambda details: waits.append(details.wait_for)])
    try:
        for _ in range(4):
            send(FakeGateway([DOWN, DOWN, TAKEN]))
    finally:
        stamina.instrumentation.set_on_retry_hooks(hooks)
    first, second = waits[::2], waits[1::2]
    assert len(set(first)) == len(set(second)) == 4
    assert all(0.01 <= wait <= 0.02 for wait in first)
    assert all(0.02 <= wait <= 0.03 for wait in second)


def test_a_timeout_goes_to_the_next_gateway_without_a_retry() -> None:
    """The first one may have delivered: it is not asked again."""
    first, second = FakeGateway([AnswerTimeoutError("timeout")]), FakeGateway(name="second")
    assert send(first, second) == HandOver(TAKEN, "second")
    assert len(first.messages) == 1


def test_a_timeout_of_the_only_gateway_is_recorded() -> None:
    only = FakeGateway([AnswerTimeoutError("timeout")])
    assert send(only) == failed("timeout", "first")
    assert len(only.messages) == 1


def test_a_refused_number_is_recorded_and_no_other_gateway_is_asked() -> None:
    first, second = FakeGateway([NumberRefusedError("number_in_spam_list")]), FakeGateway(name="second")
    assert send(first, second) == failed("number_in_spam_list", "first")
    assert (len(first.messages), len(second.messages)) == (1, 0)


@pytest.mark.parametrize("reason", ["number_not_permitted", "something new"])
def test_what_only_this_gateway_refuses_the_next_one_may_take(reason: str) -> None:
    first, second = FakeGateway([GatewayError(reason)]), FakeGateway(name="second")
    assert send(first, second) == HandOver(TAKEN, "second")
    assert len(first.messages) == 1
    assert send(FakeGateway([GatewayError(reason)])) == failed(reason, "first")


def test_a_defect_of_ours_is_recorded_logged_and_not_repeated() -> None:
    first, second = FakeGateway([DefectError("code_length_error")]), FakeGateway(name="second")
    with capture_logs() as logs:
        assert send(first, second) == failed("code_length_error", "first")
    assert (len(first.messages), len(second.messages)) == (1, 0)
    [entry] = [entry for entry in logs if entry["log_level"] == "error"]
    assert entry["event"] == "gateway-request-refused"


# Time and room


def test_a_send_is_failed_at_its_deadline() -> None:
    async def scenario() -> None:
        only = FakeGateway()
        only.opened.clear()
        began = time.monotonic()
        assert await Route([only], Clock()).send(message_for, 0.1) == failed("deadline", "first")
        assert 0.1 <= time.monotonic() - began < 1
        assert only.in_flight == 0

    run(scenario())


def test_retries_end_with_the_deadline() -> None:
    only = FakeGateway([UnavailableError("http 429", retry_after=30)])
    began = time.monotonic()
    assert send(only, seconds=0.1) == failed("http 429", "first")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("retry_after", [0.0, 0.05])
def test_a_gateway_that_says_when_is_asked_then(retry_after: float) -> None:
    first, second = FakeGateway([UnavailableError("http 429", retry_after), TAKEN]), FakeGateway(name="second")
    began = time.monotonic()
    assert send(first, second) == HandOver(TAKEN, "first")
    assert retry_after <= time.monotonic() - began < 1


def test_a_gateway_that_wants_a_long_pause_does_not_keep_the_next_one_waiting() -> None:
    """I7: else a whole deadline passes and the next gateway is never asked."""
    first, second = FakeGateway([UnavailableError("http 429", retry_after=30)]), FakeGateway(name="second")
    began = time.monotonic()
    assert send(first, second, seconds=5) == HandOver(TAKEN, "second")
    assert time.monotonic() - began < 1


def test_the_last_gateway_is_waited_for_as_long_as_it_asks() -> None:
    only = FakeGateway([UnavailableError("http 429", retry_after=0.3), TAKEN])
    began = time.monotonic()
    assert send(only) == HandOver(TAKEN, "first")
    assert time.monotonic() - began >= 0.3


def test_a_busy_gateway_s_sends_go_to_the_next() -> None:
    async def scenario() -> None:
        first, second = FakeGateway(max_in_flight=2), FakeGateway(name="second")
        first.opened.clear()
        route = Route([first, second], Clock())
        held = [asyncio.create_task(route.send(message_for, 20)) for _ in range(2)]
        await until_async(lambda: first.in_flight == 2)
        assert (await route.send(message_for, 20)).gateway == "second"
        first.opened.set()
        assert {(await one).gateway for one in held} == {"first"}

    run(scenario())


def test_the_last_gateway_is_waited_for_when_it_is_busy() -> None:
    async def scenario() -> None:
        only = FakeGateway(max_in_flight=3)
        only.opened.clear()
        route = Route([only], Clock())
        sends = [asyncio.create_task(route.send(message_for, 20)) for _ in range(10)]
        await until_async(lambda: only.in_flight == 3)
        only.opened.set()
        assert {(await one).gateway for one in sends} == {"first"}
        assert only.most_in_flight == 3

    run(scenario())


def test_a_send_that_waited_for_a_busy_gateway_till_its_deadline_was_sent_nowhere() -> None:
    async def scenario() -> None:
        only = FakeGateway(max_in_flight=1)
        only.opened.clear()
        route = Route([only], Clock())
        first = asyncio.create_task(route.send(message_for, 20))
        await until_async(lambda: only.in_flight)
        assert await route.send(message_for, 0.05) == failed("deadline", None)
        assert len(only.messages) == 1
        only.opened.set()
        await first

    run(scenario())


def test_the_route_s_capacity_is_that_of_all_its_gateways() -> None:
    async def scenario() -> None:
        gateways = [FakeGateway(max_in_flight=3), FakeGateway(max_in_flight=4, name="second")]
        route = Route(gateways, Clock())
        assert route.capacity == 7
        await route.aclose()
        assert all(gateway.is_closed for gateway in gateways)

    run(scenario())
