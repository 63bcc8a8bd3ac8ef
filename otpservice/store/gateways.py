"""What the workers tell each other of the gateways: which are left alone, and who may try one of those next.

Two keys a gateway, written when a breaker opens or closes and read once a second: never on the way of a send.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import redis.asyncio

from otpservice.store import keys
from otpservice.store.connection import store_errors

# What nobody has wanted to use for so long is forgotten, and used again as if nothing had been.
_OPEN_TTL_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class GatewayState:
    """``tries`` is the worker that may try the gateway for another ``rests_ms`` milliseconds; '' where none may."""

    is_open: bool
    tries: str
    rests_ms: int


class GatewayStates:
    """The gateways as all workers see them, for one of them. Methods raise StoreUnavailableError."""

    def __init__(self, client: redis.asyncio.Redis, worker: str) -> None:
        self._client = client
        self.worker = worker

    async def open(self, gateway: str, rest_ms: int) -> None:
        """Leave a gateway alone everywhere, for ``rest_ms`` at least."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.set(keys.gateway(gateway), "open", px=_OPEN_TTL_MS)
            pipeline.set(keys.gateway_turn(gateway), "", px=rest_ms)
            await pipeline.execute()

    async def close(self, gateway: str) -> None:
        """Use a gateway again everywhere."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.delete(keys.gateway(gateway))
            pipeline.delete(keys.gateway_turn(gateway))
            await pipeline.execute()

    async def take_turn(self, gateway: str, rest_ms: int) -> bool:
        """Ask to be the one worker that tries a gateway in the next ``rest_ms``."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.set(keys.gateway_turn(gateway), self.worker, nx=True, px=rest_ms)
            pipeline.pexpire(keys.gateway(gateway), _OPEN_TTL_MS)
            return bool((await pipeline.execute())[0])

    async def read(self, gateways: Sequence[str]) -> list[GatewayState]:
        """How the gateways stand, in the order given."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for gateway in gateways:
                pipeline.exists(keys.gateway(gateway))
                pipeline.get(keys.gateway_turn(gateway))
                pipeline.pttl(keys.gateway_turn(gateway))
            found = await pipeline.execute()
        return [
            GatewayState(bool(is_open), tries or "", max(0, int(rests)))
            for is_open, tries, rests in zip(found[::3], found[1::3], found[2::3], strict=True)
        ]
