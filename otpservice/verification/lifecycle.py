"""The life cycle of a verification and of the delivery of its current send."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a verification stands. All but ``PENDING`` are ends, and final."""

    PENDING = "pending"
    VERIFIED = "verified"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    """What became of the current send."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        """Whether the hand-over to a gateway is still to come or under way."""
        return self in {DeliveryState.QUEUED, DeliveryState.SENDING}


class Channel(StrEnum):
    """How a code reached the phone."""

    TELEGRAM = "telegram"
    VOICE = "voice"
    SMS = "sms"


class Fallback(StrEnum):
    """What to do where the phone has no Telegram."""

    VOICE = "voice"
    SMS = "sms"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a gateway's answer or report says of a send. ``price`` is the gateway's own text, like ``3.00``.

    Where the gateway used a state that nobody has heard of, ``is_recognised`` is false and ``reason`` its text.
    """

    state: DeliveryState
    channel: Channel | None = None
    reason: str | None = None
    price: str | None = None
    request_id: str | None = None
    is_recognised: bool = True


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of the current send, as shown to the tenant."""

    state: DeliveryState
    channel: Channel | None
    reason: str | None
    price: str | None
    gateway: str | None


@dataclass(frozen=True, slots=True)
class Verification:
    """A verification as shown to its tenant: the number masked, no code, times in milliseconds since 1970 UTC."""

    id: str
    status: Status
    number: str
    purpose: str | None
    code_length: int
    fallback: Fallback
    attempts_left: int
    sends_left: int
    created_at: int
    expires_at: int
    resend_at: int | None
    delivery: Delivery

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to wait for: it has ended, or its send was handed over or failed."""
        return self.status is not Status.PENDING or not self.delivery.state.is_open
