"""A verification as the scripts write it down: what a start puts there, and what an answer tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from otpservice.verification.lifecycle import (
    Channel,
    Delivery,
    DeliveryState,
    Fallback,
    Status,
    Verification,
)
from otpservice.verification.numbers import mask
from otpservice.verification.policy import Policy

_QUEUED = Delivery(DeliveryState.QUEUED, None, None, None, None)
_FORGOTTEN = Delivery(DeliveryState.FAILED, None, "forgotten", None, None)


@dataclass(frozen=True, slots=True)
class Start:
    """What a start asks for; ``number`` is E.164, ``ip`` the end user's address in canonical form."""

    number: str
    fallback: Fallback
    code_length: int
    binding: str | None = None
    purpose: str | None = None
    ip: str | None = None
    idempotency_key: str | None = None

    def __repr__(self) -> str:
        return f"Start(number={mask(self.number)!r})"


@dataclass(frozen=True, slots=True)
class Started:
    """What a start led to; ``replayed`` where its Idempotency-Key had led there before."""

    verification: Verification
    replayed: bool


def read_verification(id: str, fields: Sequence[str], policy: Policy) -> Verification:
    """Read the fields that ``public`` in lua/lib/public.lua writes."""
    (status, number, purpose, code_length, fallback, attempts, sends, created, expires, last_send,
     state, channel, reason, price, gateway) = fields  # fmt: skip
    may_resend = status == Status.PENDING and int(sends) > 0
    return Verification(
        id=id,
        status=Status(status),
        number=number,
        purpose=purpose or None,
        code_length=int(code_length),
        fallback=Fallback(fallback),
        attempts_left=int(attempts),
        sends_left=int(sends),
        created_at=int(created),
        expires_at=int(expires),
        resend_at=int(last_send) + policy.resend_after_ms if may_resend else None,
        delivery=Delivery(
            state=DeliveryState(state),
            channel=Channel(channel) if channel else None,
            reason=reason or None,
            price=price or None,
            gateway=gateway or None,
        ),
    )


def created(id: str, created_at: int, masked: str, request: Start, policy: Policy) -> Verification:
    """A verification as START has just written it. ``masked`` is its number as it is shown."""
    return Verification(
        id=id,
        status=Status.PENDING,
        number=masked,
        purpose=request.purpose,
        code_length=request.code_length,
        fallback=request.fallback,
        attempts_left=policy.max_attempts,
        sends_left=policy.max_sends - 1,
        created_at=created_at,
        expires_at=created_at + policy.ttl_ms,
        resend_at=created_at + policy.resend_after_ms if policy.max_sends > 1 else None,
        delivery=_QUEUED,
    )


def forgotten(started: Verification) -> Verification:
    """What is left to say of a verification that an Idempotency-Key outlived: that it is over."""
    return replace(
        started,
        status=Status.EXPIRED,
        attempts_left=0,
        sends_left=0,
        resend_at=None,
        delivery=_FORGOTTEN,
    )
