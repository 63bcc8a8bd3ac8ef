"""What can be set on a sandbox."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Settings of one sandbox. Times are in seconds.

    api_key: the only key that is let in.
    balance: the money on the account at the start, in the gateway's unnamed currency.
    max_messages: messages kept over all phones; the oldest is dropped. A load test raises it, for a code has
        to be read before that many newer ones have come.
    slow_seconds: how long a number ending in 90 waits for its answer.
    callback_delay: from the answer to its callback, and between the three callbacks of a number ending in 74.
    callback_timeout: how long a callback's receiver may take.
    max_pending_callbacks: callbacks that wait or are being posted; more are dropped and counted.
    max_viewers: pages (``GET /events``) open at once; more are answered 503.
    heartbeat: the longest silence on ``GET /events``.

    Raises ValueError where a value makes no sense.
    """

    api_key: str = field(repr=False)
    balance: Decimal = Decimal("1000.00")
    max_messages: int = 1000
    slow_seconds: float = 5.0
    callback_delay: float = 0.2
    callback_timeout: float = 3.0
    max_pending_callbacks: int = 10_000
    max_viewers: int = 100
    heartbeat: float = 15.0

    def __post_init__(self) -> None:
        if not self.api_key:
            raise ValueError("api_key: is empty; anything that clients then send as their key")
        if not self.balance.is_finite() or not 0 <= self.balance < 1_000_000_000:
            raise ValueError("balance: must be 0 or more, and less than a billion")
        for name in ("max_messages", "max_pending_callbacks", "max_viewers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be 1 or more")
        for name in ("slow_seconds", "callback_delay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: must be 0 or more")
        for name in ("callback_timeout", "heartbeat"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be more than 0")
