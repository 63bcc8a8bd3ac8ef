"""What the workers tell each other of the gateways: which are left alone, and who may try one of those next.

Two keys a gateway, written when a breaker opens or closes and read once a second: never on the way of a send.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otpservice.store import keys
from otpservice.store.connection import store_errors
from otpservice.store.single_async import AsyncNodes, send_all
from otpservice.store.slots import Command

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

    def __init__(self, nodes: AsyncNodes, worker: str) -> None:
        self._nodes = nodes
        self.worker = worker

    async def open(self, gateway: str, rest_ms: int) -> None:
        """Leave a gateway alone everywhere, for ``rest_ms`` at least."""
        with store_errors():
            state, turn = keys.gateway(gateway), keys.gateway_turn(gateway)
            await send_all(
                self._nodes,
                [(state, ("SET", state, "open", "PX", _OPEN_TTL_MS)), (turn, ("SET", turn, "", "PX", rest_ms))],
            )

    async def close(self, gateway: str) -> None:
        """Use a gateway again everywhere."""
        with store_errors():
            names = (keys.gateway(gateway), keys.gateway_turn(gateway))
            await send_all(self._nodes, [(name, ("DEL", name)) for name in names])

    async def take_turn(self, gateway: str, rest_ms: int) -> bool:
        """Ask to be the one worker that tries a gateway in the next ``rest_ms``."""
        with store_errors():
            state, turn = keys.gateway(gateway), keys.gateway_turn(gateway)
            replies = await send_all(
                self._nodes,
                [
                    (turn, ("SET", turn, self.worker, "NX", "PX", rest_ms)),
                    (state, ("PEXPIRE", state, _OPEN_TTL_MS)),
                ],
            )
            return bool(replies[0])

    async def read(self, gateways: Sequence[str]) -> list[GatewayState]:
        """How the gateways stand, in the order given."""
        with store_errors():
            asked: list[tuple[str, Command]] = []
            for gateway in gateways:
                state, turn = keys.gateway(gateway), keys.gateway_turn(gateway)
                asked += [(state, ("EXISTS", state)), (turn, ("GET", turn)), (turn, ("PTTL", turn))]
            found = await send_all(self._nodes, asked)
        return [
            GatewayState(bool(is_open), tries or "", max(0, int(rests)))
            for is_open, tries, rests in zip(found[::3], found[1::3], found[2::3], strict=True)
        ]
