"""The outbox as a worker holds it, on either kind of Redis."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import redis
import redis.asyncio
from fakeredis import FakeAsyncRedis, FakeRedis

from otpservice.store.connection import connect_async
from otpservice.store.outbox import Outbox
from otpservice.verification.digests import Keyring
from tests.support.policies import SECRET
from tests.support.store import Store

BLOCKING_SECONDS = 2.0

Connect = Callable[[float], redis.asyncio.Redis]


def connector(client: redis.Redis) -> Connect:
    """Makes asynchronous clients of the Redis that ``client`` speaks to."""
    options = client.connection_pool.connection_kwargs
    if isinstance(client, FakeRedis):
        server = options["server"]
        return lambda _: FakeAsyncRedis(server=server, decode_responses=True)
    return lambda seconds: connect_async(f"redis://{options['host']}:{options['port']}/0", blocking_seconds=seconds)


class Outboxes:
    """Opens outboxes for one consumer each, and closes them all in the end."""

    def __init__(self, store: Store, stack: AsyncExitStack) -> None:
        self._connect, self._partitions, self._stack = connector(store.client), store.partitions, stack

    async def open(self, consumer: str | None = None, partitions: int | None = None) -> Outbox:
        outbox = Outbox(
            self._connect(0.0),
            self._connect(BLOCKING_SECONDS),
            Keyring([SECRET]),
            partitions or self._partitions,
            consumer or secrets.token_hex(4),
        )
        self._stack.push_async_callback(outbox.aclose)
        await outbox.prepare()
        return outbox


@asynccontextmanager
async def outboxes(store: Store) -> AsyncIterator[Outboxes]:
    async with AsyncExitStack() as stack:
        yield Outboxes(store, stack)


Scenario = Callable[[Outboxes], Awaitable[None]]
