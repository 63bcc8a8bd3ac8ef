"""``POST /api/send/``: the one request that the gateway has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from otpservice.sandbox.callbacks import Callbacks
from otpservice.sandbox.contract import ErrorCode
from otpservice.sandbox.endings import TIMES_AFTER_ANSWER, Reports
from otpservice.sandbox.faults import Faults, drop
from otpservice.sandbox.gateway import Accepted, Faulty, Gateway, Refused
from otpservice.sandbox.settings import SandboxSettings


class Sending:
    """Answers sends."""

    def __init__(
        self,
        settings: SandboxSettings,
        gateway: Gateway,
        callbacks: Callbacks,
        faults: Faults,
        now: Callable[[], datetime],
    ) -> None:
        self._callback_delay = settings.callback_delay
        self._gateway = gateway
        self._callbacks = callbacks
        self._faults = faults
        self._now = now

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Answer one send as its number tells.

        The original does not say which HTTP status an error has: bad answers are 200 here, so that only the
        JSON decides. Only a body over the limit has a status of its own, 413.
        """
        self._gateway.in_flight += 1
        try:
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                self._gateway.outcomes["body_too_large"] += 1
                return web.json_response(Refused(ErrorCode.UNKNOWN_REQUEST).answer(), status=413)
            reply = self._gateway.receive(body, request.content_type, request.headers.get("Authorization"))
            match reply:
                case Refused():
                    return web.json_response(reply.answer())
                case Faulty(fault):
                    return await self._faults.commit(request, fault)
                case Accepted():
                    return await self._answer(request, reply)
        finally:
            self._gateway.in_flight -= 1

    async def _answer(self, request: web.Request, accepted: Accepted) -> web.StreamResponse:
        if accepted.behaviour.reports is Reports.BEFORE_THE_ANSWER:
            task = self._report(accepted, delay=0)
            if task is not None:
                # Not cancelled with this request: a client that gives up still gets its callback.
                await asyncio.wait({task})
            return web.json_response(accepted.answer())
        try:
            if accepted.behaviour.is_slow and await self._faults.is_closing_after_a_while():
                return drop(request)
            response = web.json_response(accepted.answer())
            # Written here, not by the caller, so that the callback never overtakes the answer.
            await response.prepare(request)
            await response.write_eof()
            return response
        finally:
            times = TIMES_AFTER_ANSWER.get(accepted.behaviour.reports, 0)
            if times:
                self._report(accepted, delay=self._callback_delay, times=times)

    def _report(self, accepted: Accepted, *, delay: float, times: int = 1) -> asyncio.Task[None] | None:
        url = accepted.request.callback_url
        if url is None:
            return None
        return self._callbacks.schedule(url, accepted.callback(self._now()), delay=delay, times=times)
