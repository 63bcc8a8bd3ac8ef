"""The bench's gateway is one that the service's own client takes for mobilgroup's, and it counts what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.gateway import Gateway, serve
from otpservice.delivery.gateways.base import AnswerTimeoutError, Message
from otpservice.delivery.gateways.mobilgroup import Mobilgroup
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback
from tests.support.waiting import until_async


@asynccontextmanager
async def _client(gateway: Gateway, timeout: float = 10.0) -> AsyncIterator[Mobilgroup]:
    server = await serve(gateway, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/send/"
    client = Mobilgroup(name="bench", url=url, api_key="bench", auth="header", timeout=timeout, max_in_flight=100)
    try:
        yield client
    finally:
        await client.aclose()
        server.close()


def _message(ending: int) -> Message:
    return Message(f"+79990000{ending:03d}", "042137", Fallback.SMS, None)


async def _send(gateway: Gateway) -> None:
    async with _client(gateway) as client:
        for ending in range(3):
            outcome = await client.send(_message(ending))
            assert (outcome.state, outcome.channel, outcome.price) == (
                DeliveryState.DELIVERED,
                Channel.TELEGRAM,
                "1.50",
            )
            assert outcome.request_id
        await client.send(_message(0))


def test_what_is_sent_is_delivered_and_counted() -> None:
    sent: list[tuple[str, str]] = []
    gateway = Gateway(on_send=lambda number, code: sent.append((number, code)))

    asyncio.run(_send(gateway))

    assert sent == [("79990000000", "042137"), ("79990000001", "042137"), ("79990000002", "042137"), sent[0]]
    assert gateway.stats() == {"sends": 4, "numbers": 3, "open": 0, "most_open": 1}
    assert len(gateway.times()["seconds"]) == len(gateway.times()["open"]) == 4


async def _send_at_once(gateway: Gateway, count: int) -> None:
    async with _client(gateway) as client:
        await asyncio.gather(*(client.send(_message(ending)) for ending in range(count)))


def test_sends_are_open_until_they_are_answered() -> None:
    gateway = Gateway(delay=0.2)

    asyncio.run(_send_at_once(gateway, 20))

    assert gateway.stats() == {"sends": 20, "numbers": 20, "open": 0, "most_open": 20}
    assert list(gateway.times()["open"]) == list(range(1, 21))


async def _send_into_silence(gateway: Gateway) -> None:
    async with _client(gateway, timeout=0.1) as client:
        with pytest.raises(AnswerTimeoutError):
            await client.send(_message(91))
        await client.send(_message(92))
        await until_async(lambda: gateway.open == 0)


def test_numbers_of_the_silent_ending_are_never_answered() -> None:
    gateway = Gateway(silent="91")

    asyncio.run(_send_into_silence(gateway))

    assert gateway.stats() == {"sends": 2, "numbers": 2, "open": 0, "most_open": 1}
