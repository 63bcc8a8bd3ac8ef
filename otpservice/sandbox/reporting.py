"""An answer and its reports in the order that a number wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from otpservice.sandbox.endings import TIMES_AFTER_ANSWER, Behaviour, Reports
from otpservice.sandbox.faults import Faults, drop

# Posts the report so many times, that many seconds before each; None where there is nowhere to post it.
Report = Callable[[float, int], asyncio.Task[None] | None]


async def answer_and_report(
    request: web.Request, response: web.Response, behaviour: Behaviour, report: Report, faults: Faults, delay: float
) -> web.StreamResponse:
    """Answer, and report after ``delay`` seconds, or before the answer. A client that gives up is reported to, too."""
    if behaviour.reports is Reports.BEFORE_THE_ANSWER:
        task = report(0, 1)
        if task is not None:
            await asyncio.wait({task})
        return response
    try:
        if behaviour.is_slow and await faults.is_closing_after_a_while():
            return drop(request)
        # Written here, not by the caller, so that the report never overtakes the answer.
        await response.prepare(request)
        await response.write_eof()
        return response
    finally:
        if times := TIMES_AFTER_ANSWER.get(behaviour.reports, 0):
            report(delay, times)
