"""Telling gateways what people typed, for their statistics. Best effort: nothing waits for it, nothing is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from otpservice.delivery.gateways.base import MOST_CONFIRMED_AT_ONCE, ConfirmingGateway, GatewayError
from otpservice.store.verdicts import Verdict, Verdicts
from otpservice.verification.errors import StoreUnavailableError

_EVERY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Confirming:
    """One worker's part in it: at most 20 at once, beside the sends and under no limit of theirs."""

    def __init__(self, verdicts: Verdicts, gateways: Mapping[str, ConfirmingGateway]) -> None:
        self._verdicts = verdicts
        self._gateways = gateways

    async def run(self) -> None:
        """Look for verdicts once a second, and at once while there are many. Never returns."""
        while True:
            try:
                taken = await self._verdicts.take(MOST_CONFIRMED_AT_ONCE)
            except StoreUnavailableError as error:
                log.debug("verdicts-failed", error=str(error))  # the reader says so loudly
                taken = []
            for first in range(0, len(taken), MOST_CONFIRMED_AT_ONCE):
                await asyncio.gather(*map(self._confirm, taken[first : first + MOST_CONFIRMED_AT_ONCE]))
            if len(taken) < MOST_CONFIRMED_AT_ONCE:
                await asyncio.sleep(_EVERY_SECONDS)

    async def _confirm(self, verdict: Verdict) -> None:
        gateway = self._gateways.get(verdict.gateway)
        if gateway is None:
            return
        try:
            await gateway.confirm(verdict.request_id, verdict.code)
        except GatewayError as error:
            log.debug("confirm-failed", gateway=verdict.gateway, reason=error.reason)
