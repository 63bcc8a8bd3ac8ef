"""The delivery worker: reads the outbox, makes each code, stores its hash, hands it over, records the outcome.

Whatever happens to it, a send is either settled or stays in the outbox for another worker to claim (I3). A clear
code lives in ``_send`` and what it calls, for as long as that takes (I4).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import structlog

from otpservice.delivery.gateways.base import Message
from otpservice.delivery.route import HandOver, Route
from otpservice.logs import log_defect
from otpservice.store.outbox import Armed, Entry, Outbox, Refused
from otpservice.verification.codes import new_code
from otpservice.verification.errors import StoreUnavailableError
from otpservice.verification.lifecycle import DeliveryState, Outcome, Status
from otpservice.verification.numbers import mask

_T = TypeVar("_T")

_BLOCK_MS = 1000
_KEEP_SECONDS = 1.0
_CLAIM_SECONDS = 1.0
_CLAIM_IDLE_MS = 5000  # five missed signs of life
_TIDY_EVERY_CLAIMS = 60
_BATCH = 100
_GATHER_SECONDS = 0.02  # for room, where there was none: else a full worker reads its sends one by one
_CANCEL_SECONDS = 0.5
_STOP_SECONDS = 25.0  # within the 30 s that most supervisors grant; what is left stays in the outbox
_LONGEST_BACKOFF_SECONDS = 2.0
_TEST_NUMBER = "test-number"

log = structlog.get_logger(__name__)


class CallbackUrl(Protocol):
    """Where a gateway reports on a send, or None where no reports are wanted."""

    def __call__(self, gateway: str, id: str, send: int) -> str | None: ...


class Worker:
    """One delivery worker. ``test_numbers`` (E.164 -> code) are never sent to; their code verifies them.

    ``companions`` run beside it for as long as it lives: what is to be done and no send waits for.
    """

    def __init__(
        self,
        outbox: Outbox,
        route: Route,
        callback_url: CallbackUrl,
        test_numbers: Mapping[str, str],
        clock: Callable[[], float],
        companions: Sequence[Callable[[], Coroutine[None, None, None]]] = (),
    ) -> None:
        self._companions = companions
        self._outbox = outbox
        self._route = route
        self._callback_url = callback_url
        self._test_numbers = test_numbers
        self._clock = clock
        # More than the gateways take, so that a busy gateway's sends do not keep another's from being read.
        self._capacity = 2 * route.capacity
        self._in_flight: dict[tuple[int, str], Entry] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._stopping = asyncio.Event()
        self._store_is_up = True

    def stop(self) -> None:
        """Stop reading; ``run`` returns when what is in flight is settled."""
        self._stopping.set()
        self._has_room.set()

    async def run(self) -> None:
        """Deliver until ``stop`` is called. Outlives every failure of Redis and of the gateways."""
        log.info("worker-started", capacity=self._capacity)
        parts: list[asyncio.Task[None]] = []
        try:
            await self._until_stopped(self._outbox.prepare)
            jobs = (self._read, self._keep, self._claim, *self._companions)
            parts += [asyncio.create_task(job()) for job in jobs]
            # None of them ends before the worker is told to stop, unless by a defect: then nothing goes on half.
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            self.stop()
            log.info("worker-stopping", in_flight=len(self._in_flight))
            await asyncio.wait({parts[0]})  # it may have entries in its hands
            await self._finish()
        finally:
            await _cancel(parts)
            ended = await asyncio.gather(*parts, return_exceptions=True)
            await self._route.aclose()
            await self._outbox.aclose()
        for error in ended:
            if isinstance(error, Exception):
                raise error
        log.info("worker-stopped")

    async def _read(self) -> None:
        while not self._stopping.is_set():
            if not self._has_room.is_set():
                await self._has_room.wait()
                await self._stops_within(_GATHER_SECONDS)
            if self._room > 0:
                read = partial(self._outbox.read, self._room, _BLOCK_MS)
                for entry in await self._until_stopped(read) or ():
                    self._accept(entry)

    async def _finish(self) -> None:
        """Let what is in flight settle; what does not is left to another worker."""
        if self._tasks:
            _, unsettled = await asyncio.wait(self._tasks, timeout=_STOP_SECONDS)
            if unsettled:
                log.error("worker-left-sends", sends=len(unsettled))
                await _cancel(unsettled)

    @property
    def _room(self) -> int:
        """How many more new sends to take now."""
        return min(self._capacity - len(self._in_flight), _BATCH)

    @property
    def _room_for_claims(self) -> int:
        """How many sends of dead workers to take now: some, however many new ones there are."""
        return min(self._capacity + _BATCH - len(self._in_flight), _BATCH)

    async def _claim(self) -> None:
        """Take over what dead workers left, and once in a while look for new outboxes and names to forget."""
        rounds = 0
        while not await self._stops_within(_CLAIM_SECONDS):
            rounds += 1
            try:
                if self._room_for_claims > 0:
                    for entry in await self._outbox.claim(_CLAIM_IDLE_MS, self._room_for_claims):
                        if self._accept(entry):
                            log.warning("send-claimed", verification=entry.id, send=entry.send)
                if rounds % _TIDY_EVERY_CLAIMS == 0:
                    await self._outbox.prepare()
                    await self._outbox.forget_dead_consumers()
            except StoreUnavailableError as error:
                log.debug("claim-failed", error=str(error))  # the reader says so loudly

    async def _keep(self) -> None:
        """Show other workers that the sends in flight are still worked on, also while this one is stopping."""
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            try:
                await self._outbox.keep(list(self._in_flight.values()))
            except StoreUnavailableError as error:
                log.debug("keep-failed", error=str(error))

    def _accept(self, entry: Entry) -> bool:
        """Begin a send, unless it is under way here already."""
        key = (entry.partition, entry.entry_id)
        if key in self._in_flight:
            return False
        self._in_flight[key] = entry
        if self._room <= 0 and not self._stopping.is_set():
            self._has_room.clear()
        task = asyncio.create_task(self._process(entry))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, key))
        return True

    def _done(self, task: asyncio.Task[None], key: tuple[int, str]) -> None:
        self._tasks.discard(task)
        del self._in_flight[key]
        if self._room > 0:
            self._has_room.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log_defect(log, "send-defect", error)  # the send is still in the outbox, and will be claimed

    async def _process(self, entry: Entry) -> None:
        # For what is logged on the way. It ends with the task, which is this send's alone.
        structlog.contextvars.bind_contextvars(verification=entry.id, send=entry.send)
        began = self._clock()
        armed, hand_over = await self._send(entry)
        outcome, gateway = (hand_over.outcome, hand_over.gateway) if hand_over else (None, None)
        recorded = await self._insist(lambda: self._outbox.settle(entry, outcome, gateway, armed=armed))
        if outcome is not None:
            _log_send(outcome, gateway, recorded=recorded, seconds=self._clock() - began)

    async def _send(self, entry: Entry) -> tuple[Armed | None, HandOver | None]:
        """Make a code, arm it, hand it over. No hand-over where there is nothing to record."""
        code = new_code(entry.code_length)
        armed = await self._insist(lambda: self._outbox.arm(entry, code))
        if isinstance(armed, Armed) and armed.number in self._test_numbers:
            test_code = self._test_numbers[armed.number]
            armed = await self._insist(lambda: self._outbox.arm(entry, test_code))
            if isinstance(armed, Armed):
                return armed, HandOver(Outcome(DeliveryState.SENT, reason=_TEST_NUMBER), None)
        if isinstance(armed, Refused):
            return None, _refused(armed)
        structlog.contextvars.bind_contextvars(tenant=armed.tenant, number=mask(armed.number))
        return armed, await self._hand_over(entry, armed, code)

    async def _hand_over(self, entry: Entry, armed: Armed, code: str) -> HandOver:
        def message_for(gateway: str) -> Message:
            callback_url = self._callback_url(gateway, entry.id, entry.send)
            return Message(armed.number, code, armed.fallback, callback_url)

        try:
            return await self._route.send(message_for, armed.left_ms / 1000)
        except Exception as error:
            log_defect(log, "send-defect", error)
            return HandOver(Outcome(DeliveryState.FAILED, reason="internal-error"), None)

    async def _until_stopped(self, call: Callable[[], Awaitable[_T]]) -> _T | None:
        """Call until Redis answers, or until the worker is to stop."""
        failures = 0
        while not self._stopping.is_set():
            try:
                return self._store_answered(await call())
            except StoreUnavailableError as error:
                self._store_failed(error)
                failures += 1
                await self._stops_within(_backoff_seconds(failures))
        return None

    async def _insist(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Call until Redis answers, also while the worker is stopping."""
        failures = 0
        while True:
            try:
                return self._store_answered(await call())
            except StoreUnavailableError as error:
                self._store_failed(error)
                failures += 1
                await asyncio.sleep(_backoff_seconds(failures))

    def _store_failed(self, error: StoreUnavailableError) -> None:
        """Say so once, however many calls fail."""
        if self._store_is_up:
            self._store_is_up = False
            log.error("worker-store-unavailable", error=str(error))

    def _store_answered(self, answer: _T) -> _T:
        if not self._store_is_up:
            self._store_is_up = True
            log.info("worker-store-back")
        return answer

    async def _stops_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks, and return when they have ended; again and again, for a library may take one for its own."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_SECONDS)


def _refused(refused: Refused) -> HandOver | None:
    """What to record of a send that may not go out; None where there is nothing to record it on."""
    if refused.reason is None:
        return None
    # Verified before this send was settled: a worker that then died had sent the code, and it arrived.
    has_arrived = refused.reason == Status.VERIFIED
    state = DeliveryState.SENT if has_arrived else DeliveryState.FAILED
    return HandOver(Outcome(state, reason=refused.reason), None)


def _backoff_seconds(failures: int) -> float:
    """How long to leave Redis alone after so many failures in a row; spread, so that sends do not come as one."""
    longest = min(_LONGEST_BACKOFF_SECONDS, 0.1 * 1.5 ** min(failures, 20))
    return random.uniform(longest / 2, longest)  # noqa: S311 - nothing secret hangs on it


def _log_send(outcome: Outcome, gateway: str | None, *, recorded: bool, seconds: float) -> None:
    if not outcome.is_recognised:
        log.warning("gateway-state-unknown", gateway=gateway, state=outcome.reason)
    log.info(
        "send",
        gateway=gateway,
        state=outcome.state,
        channel=outcome.channel,
        reason=outcome.reason,
        price=outcome.price,
        recorded=recorded,
        duration_ms=round(seconds * 1000),
    )
