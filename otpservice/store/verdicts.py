"""What people typed, as verify leaves it for the gateways that want to hear it: sealed, and read at most once."""

from __future__ import annotations

from dataclasses import dataclass, field

import redis.asyncio

from otpservice.store import keys
from otpservice.store.connection import store_errors
from otpservice.verification.digests import Keyring


@dataclass(frozen=True, slots=True)
class Verdict:
    """A code that was typed for a gateway's request."""

    gateway: str
    request_id: str
    code: str = field(repr=False)


class Verdicts:
    """Those of all partitions."""

    def __init__(self, client: redis.asyncio.Redis, keyring: Keyring, partitions: int) -> None:
        self._client = client
        self._keyring = keyring
        self._lists = [keys.verdicts(partition) for partition in range(partitions)]

    async def take(self, count: int) -> list[Verdict]:
        """Up to ``count`` of each partition, oldest first; no other worker gets them. Raises StoreUnavailableError."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for name in self._lists:
                pipeline.lpop(name, count)
            found = await pipeline.execute()
        entries = [entry.split(" ") for taken in found for entry in taken or ()]
        return [
            Verdict(gateway, request_id, code)
            for gateway, request_id, sealed in entries
            if (code := self._keyring.open_typed(sealed)) is not None
        ]
