"""A delivery worker over a store and gateways that are only objects."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from otpservice.delivery.route import Route
from otpservice.delivery.worker import Worker
from otpservice.store.outbox import Outbox
from otpservice.verification.digests import Keyring
from otpservice.verification.lifecycle import Verification
from tests.support.gateways import FakeGateway
from tests.support.outbox import BLOCKING_SECONDS, connector
from tests.support.policies import SECRET
from tests.support.store import Store
from tests.support.waiting import until_async

_STOP_SECONDS = 10


@dataclass
class Running:
    """A worker at work on ``store``."""

    worker: Worker
    task: asyncio.Task[None]
    store: Store

    async def settled(self, *made: Verification) -> list[Verification]:
        """The verifications once their sends are settled and nothing of them is left in the outbox."""

        def is_settled() -> bool:
            waiting = {sent["id"] for sent in self.store.outbox()}
            return not any(one.id in waiting for one in made)

        await until_async(is_settled)
        return [self.store.get(one) for one in made]

    async def stop(self) -> None:
        """Ask it to stop, and return when it has."""
        self.worker.stop()
        async with asyncio.timeout(_STOP_SECONDS):
            await self.task

    async def kill(self) -> None:
        """End it where it stands, as SIGKILL would: it settles nothing more."""
        tasks = [self.task, *self.worker._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def callback_url(gateway: str, id: str, send: int) -> str:
    return f"https://otp.example.com/{gateway}/{id}/{send}"


@asynccontextmanager
async def running_worker(
    store: Store,
    *gateways: FakeGateway,
    test_numbers: Mapping[str, str] | None = None,
    companions: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> AsyncIterator[Running]:
    connect = connector(store.client)
    outbox = Outbox(connect(0.0), connect(BLOCKING_SECONDS), Keyring([SECRET]), store.partitions, secrets.token_hex(4))
    route = Route(gateways, time.monotonic)
    worker = Worker(outbox, route, callback_url, test_numbers or {}, time.monotonic, companions)
    running = Running(worker, asyncio.create_task(worker.run()), store)
    try:
        yield running
    finally:
        for gateway in gateways:
            gateway.opened.set()
        if not running.task.done():
            await running.stop()
        with suppress(asyncio.CancelledError):
            await running.task
