"""The breakers of all workers as one: what one finds out of a gateway, the others know within a second.

Redis holds that a gateway is open and whose turn it is to try it (store/gateways.py). Without Redis each worker
goes on with what it knows by itself.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress

import structlog

from otpservice.delivery.breaker import Breaker
from otpservice.delivery.route import Route
from otpservice.store.gateways import GatewayState, GatewayStates
from otpservice.verification.errors import StoreUnavailableError

_EVERY_SECONDS = 1.0
# Past the end of a rest: time for the workers to agree on who tries. Only without Redis does each try by itself.
_GRACE_SECONDS = 3.0

log = structlog.get_logger(__name__)


class Fleet:
    """One worker's part in it. An open gateway is tried by one worker every ``rest_seconds``.

    ``clock`` gives monotonic seconds.
    """

    def __init__(self, route: Route, states: GatewayStates, rest_seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed = route.changed
        self._breakers = route.breakers
        self._states = states
        self._rest_ms = math.ceil(rest_seconds * 1000)
        # What has been told to the others or heard from them.
        self._known_open = dict.fromkeys(self._breakers, False)

    async def run(self) -> None:
        """Exchange once a second, and at once when a breaker opens or closes here. Never returns."""
        while True:
            try:
                await self.exchange()
            except StoreUnavailableError as error:
                log.debug("fleet-exchange-failed", error=str(error))  # the reader says so loudly
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_SECONDS):
                    await self._changed.wait()
            self._changed.clear()

    async def exchange(self) -> None:
        """Tell what has changed here, then hear what has changed elsewhere. Raises StoreUnavailableError."""
        for name, breaker in self._breakers.items():
            is_open = not breaker.is_closed
            if is_open != self._known_open[name]:
                await (self._states.open(name, self._rest_ms) if is_open else self._states.close(name))
                self._known_open[name] = is_open
        names = list(self._breakers)
        for name, state in zip(names, await self._states.read(names), strict=True):
            breaker = self._breakers[name]
            if breaker.is_closed == self._known_open[name]:
                continue  # it has changed here meanwhile: that is told first
            if state.is_open and breaker.is_closed:
                breaker.open(state.rests_ms / 1000 + _GRACE_SECONDS)
                self._known_open[name] = True
                log.error("gateway-breaker-opened", gateway=name, reason="another worker says so")
            elif not state.is_open and not breaker.is_closed:
                breaker.close()
                self._known_open[name] = False
                log.info("gateway-breaker-closed", gateway=name)
            elif state.is_open:
                await self._agree_on_who_tries(name, breaker, state)

    async def _agree_on_who_tries(self, name: str, breaker: Breaker, state: GatewayState) -> None:
        if state.tries == self._states.worker and breaker.has_turn:
            return  # no send has used it yet
        if state.rests_ms > 0:
            breaker.rest(state.rests_ms / 1000 + _GRACE_SECONDS)
        elif breaker.is_wanted:
            asked = self._clock()
            if await self._states.take_turn(name, self._rest_ms):
                # It ends here before it ends in Redis, where the next worker takes it.
                left = asked + self._rest_ms / 1000 - self._clock()
                breaker.may_try(left, _GRACE_SECONDS)
        else:
            breaker.rest(_GRACE_SECONDS)  # the first send that wants it brings it a turn
