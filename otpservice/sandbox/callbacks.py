"""Posting callbacks. Whatever the receiver does, the sandbox goes on undisturbed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from yarl import URL

from otpservice.sandbox.contract import mask_number
from otpservice.sandbox.settings import SandboxSettings

_MAX_CONNECTIONS = 200
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Post:
    """One request to make. ``number`` is for the log."""

    url: str = field(repr=False)
    number: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class Callbacks:
    """Posts callbacks in the background; an async context manager, for it holds connections.

    sent counts those answered 2xx, failed all others, dropped those that did not fit in.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self._timeout_seconds = settings.callback_timeout
        self._max_pending = settings.max_pending_callbacks
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: ClientSession | None = None
        self.sent = 0
        self.failed = 0
        self.dropped = 0

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            connector=TCPConnector(limit=_MAX_CONNECTIONS),
            timeout=ClientTimeout(total=self._timeout_seconds),
            cookie_jar=DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        session, self._session = self._session, None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if session is not None:
            await session.close()

    @property
    def pending(self) -> int:
        """Callbacks that wait for their time or are being posted; three of one send count once."""
        return len(self._tasks)

    def schedule(self, url: str, body: Mapping[str, str], *, delay: float, times: int = 1) -> asyncio.Task[None] | None:
        """Post ``body``, which names its ``number``, as JSON; otherwise as ``schedule_raw``."""
        headers = {"Content-Type": "application/json"}
        return self.schedule_raw(url, body["number"], json.dumps(body).encode(), headers, delay=delay, times=times)

    def schedule_raw(
        self, url: str, number: str, body: bytes, headers: Mapping[str, str], *, delay: float, times: int = 1
    ) -> asyncio.Task[None] | None:
        """Post ``body`` to ``url`` ``times`` times, ``delay`` seconds before each. Never raises.

        Returns the task, so that one can wait for it, or None where it was dropped.
        """
        session = self._session
        if session is None or len(self._tasks) >= self._max_pending:
            self.dropped += times
            return None
        task = asyncio.create_task(self._post_all(session, _Post(url, number, body, headers), delay, times))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _post_all(self, session: ClientSession, post: _Post, delay: float, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(delay)
            await self._post(session, post)

    async def _post(self, session: ClientSession, post: _Post) -> None:
        try:
            async with session.post(post.url, data=post.body, headers=post.headers, allow_redirects=False) as response:
                status = response.status
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            problem = type(error).__name__
        else:
            if 200 <= status < 300:
                self.sent += 1
                return
            problem = f"HTTP {status}"
        self.failed += 1
        # The path is a signed token in practice, so the host has to do.
        _log.warning("callback_failed", host=URL(post.url).host, number=mask_number(post.number), problem=problem)
