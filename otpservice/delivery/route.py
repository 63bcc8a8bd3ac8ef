"""The route: which gateway takes a send, and what follows from each way it may fail.

Gateways are asked in the order of the settings, but one that is busy after those that are free, and one whose
breaker is open last of all: a send that may fail beats one that surely does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import stamina
import structlog

from otpservice.delivery.breaker import REST_SECONDS, Breaker
from otpservice.delivery.gateways.base import (
    AccountError,
    DefectError,
    Gateway,
    GatewayError,
    Message,
    NotPermittedError,
    NumberRefusedError,
    SelectiveGateway,
    UnavailableError,
)
from otpservice.verification.lifecycle import DeliveryState, Fallback, Outcome

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

    def __init__(self, gateway: Gateway, clock: Callable[[], float], rest_seconds: float) -> None:
        self.gateway = gateway
        self.slots = asyncio.Semaphore(gateway.max_in_flight)
        self.breaker = Breaker(clock, rest_seconds)
        # What kind of gateway it is costs too much to find out at each send.
        self._selective = gateway if isinstance(gateway, SelectiveGateway) else None

    def rank(self) -> tuple[bool, bool]:
        """The lower, the earlier it is asked: open after closed, and busy (or hanging) after free."""
        return self.breaker.is_open, self.slots.locked()

    def serves(self, fallback: Fallback) -> bool:
        """Whether the gateway may be used for a send with that fallback."""
        return self._selective is None or self._selective.serves(fallback)


class Route:
    """Gateways in order of preference. One that failed too often is tried again after ``rest_seconds``.

    ``changed`` is set whenever a breaker opens or closes; whoever waits for that clears it.
    """

    def __init__(
        self, gateways: Sequence[Gateway], clock: Callable[[], float], rest_seconds: float = REST_SECONDS
    ) -> None:
        self._clock = clock
        self._lanes = [_Lane(gateway, clock, rest_seconds) for gateway in gateways]
        self.changed = asyncio.Event()

    @property
    def breakers(self) -> Mapping[str, Breaker]:
        """The breaker of each gateway, by its name."""
        return {lane.gateway.name: lane.breaker for lane in self._lanes}

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
        messages = {lane: message_for(lane.gateway.name) for lane in self._lanes}
        waiting = [lane for lane, message in messages.items() if lane.serves(message.fallback)]
        for lane in waiting:
            lane.breaker.is_wanted |= lane.breaker.is_open
        reason = "no gateway"
        while waiting:
            lane = min(waiting, key=_Lane.rank)  # the first of equals: the order of the settings
            waiting.remove(lane)
            try:
                outcome = await self._hand_to(lane, messages[lane], tried, None if waiting else until)
            except (NumberRefusedError, DefectError) as error:
                return HandOver(Outcome(DeliveryState.FAILED, reason=error.reason), lane.gateway.name)
            except GatewayError as error:
                reason = error.reason
            else:
                return HandOver(outcome, lane.gateway.name)
        return HandOver(Outcome(DeliveryState.FAILED, reason=reason), tried[-1] if tried else None)

    async def _hand_to(self, lane: _Lane, message: Message, tried: list[str], until: float | None) -> Outcome:
        """One gateway's answer, as soon as it has room; ``until`` is None where another one can be asked after it."""
        decides = lane.breaker.begin()  # before anything is awaited, so that one send decides and not two
        try:
            await lane.slots.acquire()
        except asyncio.CancelledError:
            if decides:
                lane.breaker.abandoned()
            raise
        try:
            tried.append(lane.gateway.name)
            # Whoever asks for a long pause is left for the next gateway, or gets what time there is.
            longest_pause = until - self._clock() if until is not None else _LONGEST_WAIT_SECONDS
            return await self._ask(lane, message, longest_pause, decides=decides)
        finally:
            lane.slots.release()

    async def _ask(self, lane: _Lane, message: Message, longest_pause: float, *, decides: bool) -> Outcome:
        """One gateway's answer, after retries; keeps its breaker."""
        began = self._clock()
        try:
            outcome = await _send_with_retries(lane.gateway, message, longest_pause)
        except GatewayError as error:
            self._judge(lane, error)
            raise
        except asyncio.CancelledError:
            # Out of time. The gateway's fault only where it had some: the send may have waited for its turn till now.
            if self._clock() - began >= _FAIR_SECONDS:
                self._judge(lane, GatewayError("deadline"))
            elif decides:
                lane.breaker.abandoned()
            raise
        except Exception:
            if decides:
                lane.breaker.abandoned()  # a defect of ours says nothing of the gateway
            raise
        self._succeeded(lane)
        return outcome

    def _judge(self, lane: _Lane, error: GatewayError) -> None:
        """What an error says of the gateway."""
        name = lane.gateway.name
        match error:
            case AccountError():
                self._failed(lane, at_once=True)
                log.error("gateway-account-refused", gateway=name, reason=error.reason)
            case DefectError():
                self._succeeded(lane)
                log.error("gateway-request-refused", gateway=name, reason=error.reason)
            case NumberRefusedError() | NotPermittedError():
                self._succeeded(lane)
            case _ if self._failed(lane):
                log.error("gateway-breaker-opened", gateway=name, reason=error.reason)

    def _succeeded(self, lane: _Lane) -> None:
        if lane.breaker.succeeded():
            self.changed.set()
            log.info("gateway-breaker-closed", gateway=lane.gateway.name)

    def _failed(self, lane: _Lane, *, at_once: bool = False) -> bool:
        has_opened = lane.breaker.failed(at_once=at_once)
        if has_opened:
            self.changed.set()
        return has_opened


async def _send_with_retries(gateway: Gateway, message: Message, longest_pause: float) -> Outcome:
    """The first try is made outside of what makes retries, which costs half as much as a send, and counts there."""
    try:
        return await gateway.send(message)
    except GatewayError as error:
        first: GatewayError = error
    try:
        async for attempt in stamina.retry_context(
            on=partial(_worth_a_retry, longest_pause=longest_pause),
            attempts=_TRIES,
            timeout=None,
            wait_initial=_FIRST_WAIT_SECONDS,
            wait_max=_LONGEST_WAIT_SECONDS,
            wait_jitter=_FIRST_WAIT_SECONDS,
        ):
            with attempt:
                if attempt.num == 1:
                    raise first
                return await gateway.send(message)
    finally:
        del first  # it holds this frame and this frame holds it: the code in it would outlive the send
    raise AssertionError("a retry loop ends in an answer or an error")


def _worth_a_retry(error: Exception, longest_pause: float) -> bool | float:
    """Whether to try the same gateway again: True with backoff, a number after that many seconds."""
    if not isinstance(error, UnavailableError):
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= longest_pause else False
