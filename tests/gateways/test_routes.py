"""Routes of several gateways: which are left out, which come last, and what counts against one."""

from __future__ import annotations

import asyncio

import pytest

from otpservice.delivery.gateways.base import AccountError, GatewayError, Message, NotPermittedError
from otpservice.delivery.route import HandOver, Route
from otpservice.verification.lifecycle import DeliveryState, Fallback, Outcome
from tests.gateways.support import TAKEN, Clock, Fake, message, run

BROKEN = AccountError("user_disabled")


def to(fallback: Fallback = Fallback.SMS) -> Message:
    return message(fallback=fallback)


async def send(route: Route, fallback: Fallback = Fallback.SMS, seconds: float = 20) -> HandOver:
    return await route.send(lambda _: to(fallback), seconds)


@pytest.mark.parametrize(
    ("fallback", "used"), [(Fallback.SMS, "sms"), (Fallback.VOICE, "voice"), (Fallback.NONE, None)]
)
def test_a_gateway_is_used_only_for_the_fallbacks_that_it_serves(fallback: Fallback, used: str | None) -> None:
    async def scenario() -> None:
        telegram = Fake("telegram", [NotPermittedError("the number has no Telegram")])
        sms, voice = Fake("sms", fallbacks=[Fallback.SMS]), Fake("voice", fallbacks=[Fallback.VOICE])
        ended = await send(Route([telegram, sms, voice], Clock()), fallback)
        if used is None:
            failure = Outcome(DeliveryState.FAILED, reason="the number has no Telegram")
            assert ended == HandOver(failure, "telegram")
        else:
            assert ended == HandOver(TAKEN, used)
        assert {gateway.name for gateway in (sms, voice) if gateway.messages} == ({used} if used else set())

    run(scenario())


def test_where_no_gateway_serves_the_fallback_the_send_fails() -> None:
    async def scenario() -> None:
        ended = await send(Route([Fake("sms", fallbacks=[Fallback.SMS])], Clock()), Fallback.NONE)
        assert ended == HandOver(Outcome(DeliveryState.FAILED, reason="no gateway"), None)

    run(scenario())


def test_numbers_that_a_gateway_does_not_reach_count_not_against_it() -> None:
    async def scenario() -> None:
        first = Fake("first", [NotPermittedError("number_not_permitted")] * 10 + [TAKEN])
        route = Route([first, Fake("second")], Clock())
        for _ in range(10):
            assert (await send(route)).gateway == "second"
        assert (await send(route)).gateway == "first"

    run(scenario())


def test_an_open_gateway_is_asked_after_all_when_the_others_fail() -> None:
    async def scenario() -> None:
        first, second = Fake("first", [BROKEN, TAKEN]), Fake("second", [TAKEN, GatewayError("no")])
        route = Route([first, second], Clock())
        assert (await send(route)).gateway == "second"
        assert (await send(route)).gateway == "first"
        assert len(second.messages) == 2

    run(scenario())


def test_a_busy_gateway_is_waited_for_when_the_free_one_fails() -> None:
    async def scenario() -> None:
        first, second = Fake("first", max_in_flight=1), Fake("second", [GatewayError("no")])
        first.holds = asyncio.Event()
        route = Route([first, second], Clock())
        holder = asyncio.create_task(send(route))
        await first.began.wait()
        waiter = asyncio.create_task(send(route))
        await second.began.wait()
        first.holds.set()
        assert [(await task).gateway for task in (holder, waiter)] == ["first", "first"]

    run(scenario())


def test_one_send_tries_an_open_gateway_however_many_come_at_once() -> None:
    async def scenario() -> None:
        clock, first, second = Clock(), Fake("first", [BROKEN, TAKEN]), Fake("second")
        route = Route([first, second], clock)
        await send(route)
        clock.seconds += 30
        first.holds = asyncio.Event()
        sends = [asyncio.create_task(send(route)) for _ in range(8)]
        await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
        first.holds.set()
        assert sorted([(await one).gateway or "" for one in sends]) == ["first"] + ["second"] * 7
        assert len(first.messages) == 2

    run(scenario())


def test_a_try_that_waited_for_room_in_vain_leaves_the_next_to_another_send() -> None:
    async def scenario() -> None:
        clock, only = Clock(), Fake("only", [TAKEN], max_in_flight=1)
        only.holds = asyncio.Event()
        route = Route([only], clock)
        holder = asyncio.create_task(send(route))
        await only.began.wait()
        route.breakers["only"].open(0)
        assert (await send(route, seconds=0.05)).outcome.reason == "deadline"
        assert not route.breakers["only"].is_probing
        only.holds.set()
        await holder

    run(scenario())


def test_it_says_when_a_breaker_opens_or_closes() -> None:
    async def scenario() -> None:
        clock, first = Clock(), Fake("first", [BROKEN, TAKEN])
        route = Route([first, Fake("second")], clock)
        assert not route.changed.is_set()
        await send(route)
        assert route.changed.is_set()
        route.changed.clear()
        clock.seconds += 30
        await send(route)
        assert route.changed.is_set()

    run(scenario())


def test_a_send_that_goes_elsewhere_says_that_the_gateway_is_wanted() -> None:
    async def scenario() -> None:
        route = Route([Fake("first", [BROKEN]), Fake("second")], Clock())
        await send(route)
        assert not route.breakers["first"].is_wanted
        await send(route)
        assert route.breakers["first"].is_wanted

    run(scenario())
