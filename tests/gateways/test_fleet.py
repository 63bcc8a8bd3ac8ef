"""Workers that share what they know of a gateway, over a real Valkey. Each has a clock of its own that is moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest
import redis

from otpservice.delivery.fleet import Fleet
from otpservice.delivery.gateways.base import AccountError
from otpservice.delivery.route import Route
from otpservice.store.connection import connect_async
from otpservice.store.gateways import GatewayState, GatewayStates
from otpservice.store.single_async import AsyncSingle
from otpservice.verification.errors import StoreUnavailableError
from tests.gateways.support import TAKEN, Clock, Fake, message, run

REST = 30.0
TURN = "otp:gateway:first:turn"


class Member:
    """One worker's route and its part in the fleet. ``first`` begins to work with ``mended``."""

    def __init__(self, url: str, name: str) -> None:
        self.clock = Clock()
        self.first = Fake("first", [AccountError("user_disabled")])
        self.route = Route([self.first, Fake("second")], self.clock, REST)
        self.breaker = self.route.breakers["first"]
        self.client = connect_async(url)
        self.fleet = Fleet(self.route, GatewayStates(AsyncSingle(self.client), name), REST, self.clock)

    async def send(self) -> str | None:
        return (await self.route.send(lambda _: message(), 20)).gateway

    def mended(self) -> None:
        self.first._ends = [TAKEN]


@asynccontextmanager
async def members(url: str, *names: str) -> AsyncIterator[list[Member]]:
    made = [Member(url, name) for name in names]
    try:
        yield made
    finally:
        for member in made:
            await member.client.aclose()


@pytest.fixture
def store(valkey: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey, decode_responses=True) as client:
        yield client


def test_an_error_about_the_account_closes_the_gateway_to_all_workers(valkey: str) -> None:
    async def scenario() -> None:
        async with members(valkey, "a", "b") as (a, b):
            assert await a.send() == "second"
            await a.fleet.exchange()
            assert b.breaker.is_closed
            await b.fleet.exchange()
            assert await b.send() == "second"
            assert b.first.messages == []

    run(scenario())


def test_one_worker_of_all_tries_the_gateway_after_the_rest(valkey: str, store: redis.Redis) -> None:
    async def scenario() -> None:
        async with members(valkey, "a", "b") as (a, b):
            await a.send()
            for member in (a, b):
                await member.fleet.exchange()
                await member.send()  # it is wanted
                member.clock.seconds += REST
                await member.fleet.exchange()
            assert 0 < store.pttl(TURN) <= REST * 1000
            # The rest is not over by Redis's clock: whatever a worker's own says, it does not try.
            assert [await member.send() for member in (a, b)] == ["second", "second"]
            assert len(a.first.messages) + len(b.first.messages) == 1
            store.delete(TURN)  # now it is
            for member in (a, b):
                await member.fleet.exchange()
            for member in (a, b):
                await member.send()
            assert (len(a.first.messages), len(b.first.messages)) == (2, 0)
            assert store.get(TURN) == "a"

    run(scenario())


def test_two_workers_that_find_the_rest_over_at_the_same_instant_do_not_both_try(
    valkey: str, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with members(valkey, "a", "b") as both:
            await both[0].send()
            for member in both:
                await member.fleet.exchange()
                await member.send()
            store.delete(TURN)
            have_both_read = asyncio.Barrier(2)
            read = GatewayStates.read

            async def read_at_once(states: GatewayStates, gateways: Sequence[str]) -> list[GatewayState]:
                found = await read(states, gateways)
                await have_both_read.wait()
                return found

            monkeypatch.setattr(GatewayStates, "read", read_at_once)
            await asyncio.gather(*(member.fleet.exchange() for member in both))
            for member in both:
                await member.send()
            assert sum(len(member.first.messages) for member in both) == 2  # one found out, one tried

    run(scenario())


def test_who_tried_in_vain_waits_for_the_others_and_not_for_its_own_clock(valkey: str, store: redis.Redis) -> None:
    async def scenario() -> None:
        async with members(valkey, "a", "b") as (a, b):
            await a.send()
            for member in (a, b):
                await member.fleet.exchange()
                await member.send()
            store.delete(TURN)
            await a.fleet.exchange()
            await a.send()  # its try, in vain
            await a.fleet.exchange()
            a.clock.seconds += REST
            store.delete(TURN)
            await b.fleet.exchange()  # the rest is over, and b was first to see it
            assert [await member.send() for member in (a, b)] == ["second", "second"]
            assert (len(a.first.messages), len(b.first.messages)) == (2, 1)

    run(scenario())


def test_a_turn_that_was_not_used_is_not_used_beside_another_worker_s(valkey: str, store: redis.Redis) -> None:
    async def scenario() -> None:
        async with members(valkey, "a", "b") as (a, b):
            await a.send()
            for member in (a, b):
                await member.fleet.exchange()
                await member.send()
            store.delete(TURN)
            await a.fleet.exchange()  # its turn, and no send comes
            assert store.get(TURN) == "a"
            a.clock.seconds += REST
            store.delete(TURN)
            await b.fleet.exchange()
            assert [await member.send() for member in (a, b)] == ["second", "second"]
            assert (len(a.first.messages), len(b.first.messages)) == (1, 1)

    run(scenario())


def test_a_try_that_gets_through_opens_the_gateway_to_all_workers(valkey: str, store: redis.Redis) -> None:
    async def scenario() -> None:
        async with members(valkey, "a", "b") as (a, b):
            await a.send()
            await a.fleet.exchange()
            await b.fleet.exchange()
            b.mended()
            await b.send()
            store.delete(TURN)
            await b.fleet.exchange()
            assert await b.send() == "first"
            await b.fleet.exchange()
            assert store.keys("otp:gateway:*") == []
            await a.fleet.exchange()
            assert a.breaker.is_closed

    run(scenario())


def test_a_try_that_fails_leaves_the_next_to_whoever_is_first(valkey: str, store: redis.Redis) -> None:
    async def scenario() -> None:
        async with members(valkey, "a", "b") as (a, b):
            await a.send()
            for member in (a, b):
                await member.fleet.exchange()
                await member.send()
            store.delete(TURN)
            await a.fleet.exchange()
            await a.send()
            await a.fleet.exchange()
            await b.fleet.exchange()
            assert await b.send() == "second"
            assert (len(a.first.messages), len(b.first.messages)) == (2, 0)
            store.delete(TURN)
            await b.fleet.exchange()
            await b.send()
            assert (len(a.first.messages), len(b.first.messages)) == (2, 1)

    run(scenario())


def test_nobody_takes_a_turn_for_a_gateway_that_no_send_wants(valkey: str, store: redis.Redis) -> None:
    async def scenario() -> None:
        async with members(valkey, "a") as (a,):
            await a.send()
            await a.fleet.exchange()
            store.delete(TURN)
            await a.fleet.exchange()
            assert store.get(TURN) is None

    run(scenario())


def test_a_worker_that_starts_learns_what_the_others_know(valkey: str) -> None:
    async def scenario() -> None:
        async with members(valkey, "a", "b") as (a, b):
            await a.send()
            await a.fleet.exchange()
            b.clock.seconds += 1e6
            await b.fleet.exchange()
            assert await b.send() == "second"
            assert b.first.messages == []

    run(scenario())


def test_without_redis_each_worker_goes_on_with_what_it_knows() -> None:
    async def scenario() -> None:
        async with members("redis://127.0.0.1:1/0", "a") as (a,):
            await a.send()
            with pytest.raises(StoreUnavailableError):
                await a.fleet.exchange()
            assert await a.send() == "second"
            a.mended()
            a.clock.seconds += REST
            assert await a.send() == "first"

    run(scenario())


def test_everything_that_is_shared_goes_away_by_itself(valkey: str, store: redis.Redis) -> None:
    async def scenario() -> None:
        async with members(valkey, "a") as (a,):
            await a.send()
            await a.fleet.exchange()
        assert {key: store.pttl(key) > 0 for key in store.scan_iter()} == {"otp:gateway:first": True, TURN: True}

    run(scenario())
