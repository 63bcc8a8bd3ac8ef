"""What people typed, as verify leaves it for the gateways that want to hear it: sealed, and read at most once."""

from __future__ import annotations

from dataclasses import dataclass, field

from otpservice.store import keys
from otpservice.store.connection import store_errors
from otpservice.store.single_async import AsyncNodes, send_all
from otpservice.verification.digests import Keyring


@dataclass(frozen=True, slots=True)
class Verdict:
    """A code that was typed for a gateway's request."""

    gateway: str
    request_id: str
    code: str = field(repr=False)


class Verdicts:
    """Those of all partitions."""

    def __init__(self, nodes: AsyncNodes, keyring: Keyring, partitions: int) -> None:
        self._nodes = nodes
        self._keyring = keyring
        self._lists = [keys.verdicts(partition) for partition in range(partitions)]

    async def take(self, count: int) -> list[Verdict]:
        """Up to ``count`` of each partition, oldest first; no other worker gets them. Raises StoreUnavailableError."""
        with store_errors():
            found = await send_all(self._nodes, [(name, ("LPOP", name, count)) for name in self._lists])
        entries = [entry.split(" ") for taken in found for entry in taken or ()]
        return [
            Verdict(gateway, request_id, code)
            for gateway, request_id, sealed in entries
            if (code := self._keyring.open_typed(sealed)) is not None
        ]
