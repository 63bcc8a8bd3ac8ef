"""The route keeps a breaker for each gateway: a broken one is left alone, and never for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from otpservice.delivery import route as route_module
from otpservice.delivery.gateways.base import (
    AccountError,
    DefectError,
    GatewayError,
    Message,
    NotPermittedError,
    NumberRefusedError,
)
from otpservice.delivery.route import HandOver, Route
from otpservice.verification.lifecycle import DeliveryState, Fallback, Outcome
from tests.support.gateways import TAKEN, FakeGateway
from tests.support.policies import CODE, NUMBER
from tests.support.waiting import until_async


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


def test_an_account_error_opens_the_breaker_and_says_so_once() -> None:
    async def scenario() -> None:
        first, second = FakeGateway([AccountError("not_enough_money")]), FakeGateway(name="second")
        clock = Clock()
        route = Route([first, second], clock)
        with capture_logs() as logs:
            for _ in range(5):
                assert await route.send(message_for, 20) == HandOver(TAKEN, "second")
        assert len(first.messages) == 1
        assert [entry for entry in logs if entry["log_level"] == "error"] == [
            {
                "event": "gateway-account-refused",
                "log_level": "error",
                "gateway": "first",
                "reason": "not_enough_money",
            }
        ]

    run(scenario())


def test_after_five_failed_sends_a_gateway_is_left_alone_and_then_tried_with_one() -> None:
    async def scenario() -> None:
        first, second = FakeGateway([GatewayError("no")] * 5 + [TAKEN]), FakeGateway(name="second")
        clock = Clock()
        route = Route([first, second], clock)
        with capture_logs() as logs:
            for _ in range(8):
                assert (await route.send(message_for, 20)).gateway == "second"
        assert len(first.messages) == 5
        assert [entry["event"] for entry in logs] == ["gateway-breaker-opened"]
        clock.seconds += 30
        first.opened.clear()
        with capture_logs() as logs:
            probe = asyncio.create_task(route.send(message_for, 20))
            await until_async(lambda: first.in_flight)
            assert (await route.send(message_for, 20)).gateway == "second"  # one tries, the others do not wait for it
            first.opened.set()
            assert (await probe).gateway == "first"
        assert [entry["event"] for entry in logs] == ["gateway-breaker-closed"]
        assert (await route.send(message_for, 20)).gateway == "first"

    run(scenario())


@pytest.mark.parametrize("refusal", [NumberRefusedError("number_not_valid"), DefectError("code_not_correct")])
def test_what_is_not_the_gateway_s_fault_does_not_open_its_breaker(refusal: GatewayError) -> None:
    async def scenario() -> None:
        first, second = FakeGateway([refusal] * 10 + [TAKEN]), FakeGateway(name="second")
        route = Route([first, second], Clock())
        for _ in range(10):
            await route.send(message_for, 20)
        assert (await route.send(message_for, 20)).gateway == "first"

    run(scenario())


def test_where_all_breakers_are_open_the_gateways_are_asked_all_the_same() -> None:
    async def scenario() -> None:
        only = FakeGateway([AccountError("user_disabled"), TAKEN])
        route = Route([only], Clock())
        assert await route.send(message_for, 20) == failed("user_disabled", "first")
        assert await route.send(message_for, 20) == HandOver(TAKEN, "first")
        assert await route.send(message_for, 20) == HandOver(TAKEN, "first")

    run(scenario())


def test_a_number_that_a_gateway_may_not_reach_says_nothing_of_its_health() -> None:
    """Else whoever starts a few verifications of such numbers turns the others away from it."""

    async def scenario() -> None:
        first = FakeGateway([NotPermittedError("number_not_permitted")] * 10 + [TAKEN])
        route = Route([first, FakeGateway(name="second")], Clock())
        for _ in range(10):
            assert (await route.send(message_for, 20)).gateway == "second"
        assert (await route.send(message_for, 20)).gateway == "first"

    run(scenario())


def test_a_send_that_runs_out_of_time_counts_as_a_failure() -> None:
    class Slow(FakeGateway):
        """Hangs, while time goes by."""

        async def send(self, message: Message) -> Outcome:
            clock.seconds += 1
            return await super().send(message)

    clock = Clock()

    async def scenario() -> None:
        first, second = Slow(), FakeGateway(name="second")
        first.opened.clear()
        route = Route([first, second], clock)
        for _ in range(5):
            assert await route.send(message_for, 0.02) == failed("deadline", "first")
        assert (await route.send(message_for, 20)).gateway == "second"

    run(scenario())


def test_a_send_that_had_no_time_left_says_nothing_of_the_gateway() -> None:
    """It had waited for its turn until now."""

    async def scenario() -> None:
        first, second = FakeGateway(), FakeGateway(name="second")
        first.opened.clear()
        route = Route([first, second], Clock())
        for _ in range(5):
            assert await route.send(message_for, 0.02) == failed("deadline", "first")
        first.opened.set()
        assert (await route.send(message_for, 20)).gateway == "first"

    run(scenario())


def test_a_defect_during_the_one_try_does_not_keep_the_breaker_open_for_ever() -> None:
    async def scenario() -> None:
        first = FakeGateway([AccountError("user_disabled"), ZeroDivisionError(), TAKEN])
        clock = Clock()
        route = Route([first, FakeGateway(name="second")], clock)
        assert (await route.send(message_for, 20)).gateway == "second"
        clock.seconds += 30
        with pytest.raises(ZeroDivisionError):
            await route.send(message_for, 20)
        clock.seconds += 30
        assert (await route.send(message_for, 20)).gateway == "first"

    run(scenario())
