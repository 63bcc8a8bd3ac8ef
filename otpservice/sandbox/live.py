"""Live updates for pages that look on: server-sent events (WHATWG HTML, section 9.2), bounded queues."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

MAX_QUEUED_EVENTS = 500


class TooManyViewers(Exception):  # noqa: N818  a full house, not a defect
    """No more viewers are taken on for now."""


def event_frame(name: str, data: Mapping[str, object]) -> bytes:
    """One server-sent event of that name with a JSON object as its data."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


# Tells a page that it missed something, or that the phones were emptied: it reads GET /messages anew.
RESYNC = event_frame("resync", {})


class Viewer:
    """The events that one page has not been sent yet."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._wake = asyncio.Event()

    def put(self, frame: bytes) -> None:
        """Queue a frame; a viewer that is too slow loses its queue and gets one ``resync`` instead."""
        if len(self._frames) >= MAX_QUEUED_EVENTS:
            self._frames.clear()
            frame = RESYNC
        self._frames.append(frame)
        self._wake.set()

    def wake(self) -> None:
        """Let ``frames`` return although nothing has come."""
        self._wake.set()

    async def frames(self, timeout: float) -> bytes:
        """All frames queued by now as one chunk; empty where none comes within ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return b""
        self._wake.clear()
        chunk = b"".join(self._frames)
        self._frames.clear()
        return chunk


class Live:
    """All viewers, at most ``max_viewers``."""

    def __init__(self, max_viewers: int) -> None:
        self._max_viewers = max_viewers
        self._viewers: set[Viewer] = set()
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._viewers)

    def publish(self, name: str, data: Mapping[str, object]) -> None:
        """Queue an event for everyone."""
        if not self._viewers:
            return
        frame = event_frame(name, data)
        for viewer in self._viewers:
            viewer.put(frame)

    def resync(self) -> None:
        """Let everyone read anew."""
        for viewer in self._viewers:
            viewer.put(RESYNC)

    @contextmanager
    def viewing(self) -> Iterator[Viewer]:
        """Be a viewer for as long as the block runs. Raises TooManyViewers."""
        if len(self._viewers) >= self._max_viewers:
            raise TooManyViewers
        viewer = Viewer()
        self._viewers.add(viewer)
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    def close(self) -> None:
        """Wake everyone so that they leave."""
        self.is_closed = True
        for viewer in self._viewers:
            viewer.wake()
