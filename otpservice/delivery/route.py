"""The route: which gateway takes a send, and what follows from each way it may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import stamina
import structlog

from otpservice.delivery.breaker import Breaker
from otpservice.delivery.gateways.base import (
    AccountError,
    DefectError,
    Gateway,
    GatewayError,
    Message,
    NotPermittedError,
    NumberRefusedError,
    UnavailableError,
)
from otpservice.verification.lifecycle import DeliveryState, Outcome

_TRIES = 3
_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 2.0
_FAIR_SECONDS = 1.0

log = structlog.get_logger(__name__)


class MessageFor(Protocol):
    """Makes the message for a gateway: each has a callback URL of its own."""

    def __call__(self, gateway: str) -> Message: ...


@dataclass(frozen=True, slots=True)
class HandOver:
    """How a send ended: what to record, and which gateway it came from (None: none was asked)."""

    outcome: Outcome
    gateway: str | None


class _Lane:
    """A gateway, with its own limit of sends in flight and its own breaker: a bulkhead."""

    def __init__(self, gateway: Gateway, clock: Callable[[], float]) -> None:
        self.gateway = gateway
        self.slots = asyncio.Semaphore(gateway.max_in_flight)
        self.breaker = Breaker(clock)


class Route:
    """Gateways in order of preference."""

    def __init__(self, gateways: Sequence[Gateway], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lanes = [_Lane(gateway, clock) for gateway in gateways]

    @property
    def capacity(self) -> int:
        """How many sends all gateways together take at once."""
        return sum(lane.gateway.max_in_flight for lane in self._lanes)

    async def send(self, message_for: MessageFor, seconds: float) -> HandOver:
        """Hand one code over within ``seconds``: to the first gateway that takes it. Never raises a GatewayError."""
        tried: list[str] = []
        try:
            async with asyncio.timeout(seconds):
                return await self._send(message_for, tried, self._clock() + seconds)
        except TimeoutError:
            return HandOver(Outcome(DeliveryState.FAILED, reason="deadline"), tried[-1] if tried else None)

    async def aclose(self) -> None:
        """Close the connections of all gateways."""
        for lane in self._lanes:
            await lane.gateway.aclose()

    async def _send(self, message_for: MessageFor, tried: list[str], until: float) -> HandOver:
        # An open breaker diverts. Where it leaves nowhere to go, the gateways are asked all the same: a send
        # that may fail beats one that surely does.
        lanes = [lane for lane in self._lanes if not lane.breaker.is_open] or self._lanes
        reason = "no gateway"
        for position, lane in enumerate(lanes):
            is_last = position == len(lanes) - 1
            if lane.slots.locked() and not is_last:
                continue  # it is busy, or hangs: the next one need not wait for it
            async with lane.slots:
                tried.append(lane.gateway.name)
                try:
                    # Whoever asks for a long pause is left for the next gateway, or gets what time there is.
                    longest_pause = until - self._clock() if is_last else _LONGEST_WAIT_SECONDS
                    outcome = await self._ask(lane, message_for(lane.gateway.name), longest_pause)
                except (NumberRefusedError, DefectError) as error:
                    return HandOver(Outcome(DeliveryState.FAILED, reason=error.reason), lane.gateway.name)
                except GatewayError as error:
                    reason = error.reason
                else:
                    return HandOver(outcome, lane.gateway.name)
        return HandOver(Outcome(DeliveryState.FAILED, reason=reason), tried[-1] if tried else None)

    async def _ask(self, lane: _Lane, message: Message, longest_pause: float) -> Outcome:
        """One gateway's answer, after retries; keeps its breaker."""
        name, began = lane.gateway.name, self._clock()
        lane.breaker.begin()
        try:
            outcome = await _send_with_retries(lane.gateway, message, longest_pause)
        except AccountError as error:
            lane.breaker.failed(at_once=True)
            log.error("gateway-account-refused", gateway=name, reason=error.reason)  # noqa: TRY400 - no traceback
            raise
        except DefectError as error:
            lane.breaker.succeeded()
            log.error("gateway-request-refused", gateway=name, reason=error.reason)  # noqa: TRY400
            raise
        except (NumberRefusedError, NotPermittedError):
            lane.breaker.succeeded()
            raise
        except GatewayError as error:
            if lane.breaker.failed():
                log.error("gateway-breaker-opened", gateway=name, reason=error.reason)  # noqa: TRY400
            raise
        except asyncio.CancelledError:
            # Out of time. The gateway's fault only where it had some: the send may have waited for its turn till now.
            if self._clock() - began >= _FAIR_SECONDS:
                lane.breaker.failed()
            else:
                lane.breaker.abandoned()
            raise
        except Exception:
            lane.breaker.abandoned()  # a defect of ours says nothing of the gateway
            raise
        if lane.breaker.succeeded():
            log.info("gateway-breaker-closed", gateway=name)
        return outcome


async def _send_with_retries(gateway: Gateway, message: Message, longest_pause: float) -> Outcome:
    async for attempt in stamina.retry_context(
        on=partial(_worth_a_retry, longest_pause=longest_pause),
        attempts=_TRIES,
        timeout=None,
        wait_initial=_FIRST_WAIT_SECONDS,
        wait_max=_LONGEST_WAIT_SECONDS,
        wait_jitter=_FIRST_WAIT_SECONDS,
    ):
        with attempt:
            return await gateway.send(message)
    raise AssertionError("a retry loop ends in an answer or an error")


def _worth_a_retry(error: Exception, longest_pause: float) -> bool | float:
    """Whether to try the same gateway again: True with backoff, a number after that many seconds."""
    if not isinstance(error, UnavailableError):
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= longest_pause else False
