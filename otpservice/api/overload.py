"""Overload: how many requests are at work at once, how many wait and for how long, and what the others are told.

Every request passes here first. So many are at work (``handlers``), four times as many wait for that for up to
``PATIENCE_SECONDS``, and whatever comes beyond is answered 503 at once, by threads that are kept for it. So nothing
waits in a queue that nobody looks at, however slow Redis is.

The server has no way to end a read of a body that does not come: a thread that reads one is held until the caller
sends it or goes. A read is therefore done outside of the handlers' slots, and bounded in number, for each caller
too. Only callers with a valid API key or callback token get as far as a read.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import orjson
import structlog

from otpservice.api.exchange import announced_length
from otpservice.api.headers import HEADERS, request_id
from otpservice.api.problems import MEDIA_TYPE, problem_document
from otpservice.api.threads import PROBES, inside
from otpservice.verification.errors import OverloadedError

PATIENCE_SECONDS = 0.5
RETRY_AFTER_SECONDS = 1

_READERS_OF_ONE_CALLER = 4  # a quarter of all
_SAY_SECONDS = 1.0

_LIVENESS, _READINESS, _CALLBACKS = "/healthz", "/readyz", "/v1/callbacks/"
_REFUSAL = orjson.dumps(problem_document("overloaded", "More requests than can be taken; try again."))
_REFUSAL_HEADERS = (
    ("Content-Type", MEDIA_TYPE),
    ("Content-Length", str(len(_REFUSAL))),
    ("Retry-After", str(RETRY_AFTER_SECONDS)),
    ("Connection", "close"),  # its body, if it has one, is not read
    *HEADERS.items(),
)

log = structlog.get_logger(__name__)


class Gate:
    """WSGI middleware: lets ``handlers`` requests be at work at once. ``clock`` gives monotonic seconds."""

    def __init__(self, application: WSGIApplication, handlers: int, clock: Callable[[], float]) -> None:
        self._application = application
        self._door = _Slots(inside(handlers))
        self._probes = _Slots(PROBES)
        self._handlers = _Slots(handlers)
        self._readers = _Readers(handlers)
        self._refusals = _Refusals(clock)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == _LIVENESS:
            return self._answer(environ, start_response)
        door = self._probes if path == _READINESS else self._door
        if not door.take_at_once():
            return self._refuse(environ, start_response)
        try:
            if path == _READINESS:
                return self._answer(environ, start_response)
            turn = _Turn(self._handlers)
            try:
                turn.take()
                environ["wsgi.input"] = _Input(environ, turn, self._readers)
                return self._answer(environ, start_response)
            finally:
                turn.end()
        except OverloadedError:
            return self._refuse(environ, start_response)
        finally:
            door.give_back()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        """The whole answer: when it is there its slot is free, and the server sends it as one piece."""
        parts = self._application(environ, start_response)
        try:
            return [b"".join(parts)]
        finally:
            if (close := getattr(parts, "close", None)) is not None:
                close()

    def _refuse(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        self._refusals.count()
        name = request_id(environ.get("HTTP_X_REQUEST_ID", ""))
        start_response("503 Service Unavailable", [*_REFUSAL_HEADERS, ("X-Request-ID", name)])
        return [_REFUSAL]


class _Slots:
    """So many at once. Taking one waits for up to ``PATIENCE_SECONDS``, then raises OverloadedError."""

    def __init__(self, count: int) -> None:
        # A queue of tokens: it counts as a semaphore does, and costs a tenth of one, five times a request. It is put
        # back without a frame of ours.
        self._free: SimpleQueue[None] = SimpleQueue()
        self.give_back: Callable[[], None] = partial(self._free.put, None)
        for _ in range(count):
            self.give_back()

    def take(self) -> None:
        try:
            self._free.get(timeout=PATIENCE_SECONDS)
        except Empty:
            raise OverloadedError("no slot came free", RETRY_AFTER_SECONDS * 1000) from None

    def take_at_once(self) -> bool:
        """Whether there was one."""
        try:
            self._free.get(block=False)
        except Empty:
            return False
        return True


class _Turn:
    """A request's handler slot, which it lets go of while it reads."""

    def __init__(self, slots: _Slots) -> None:
        self._slots = slots
        self._is_held = False

    def take(self) -> None:
        """Raises OverloadedError where none comes free in time."""
        self._slots.take()
        self._is_held = True

    def let_go(self) -> None:
        self._slots.give_back()
        self._is_held = False

    def end(self) -> None:
        if self._is_held:
            self.let_go()


class _Readers:
    """Who may read a body: a share of all for each caller."""

    def __init__(self, count: int) -> None:
        share = max(1, count // _READERS_OF_ONE_CALLER)
        self._all = _Slots(count)
        # One for each valid key and one for callbacks: others are refused before they are read.
        self._of: defaultdict[int | str, _Slots] = defaultdict(lambda: _Slots(share))

    def read(self, body: Any, size: int, caller: int | str) -> bytes:
        """Raises OverloadedError where there is no place for another reader."""
        own = self._of[caller]
        own.take()
        try:
            self._all.take()
            try:
                data: bytes = body.read(size)
            finally:
                self._all.give_back()
        finally:
            own.give_back()
        return data


class _Input:
    """``wsgi.input``, read outside of the handlers' slots. Does not keep the request's environ, which holds it."""

    def __init__(self, environ: WSGIEnvironment, turn: _Turn, readers: _Readers) -> None:
        self._body: Any = environ["wsgi.input"]
        self._left = announced_length(environ)
        self._caller = _caller(environ)
        self._turn = turn
        self._readers = readers

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end. Raises OverloadedError."""
        if self._left == 0:
            return b""
        self._turn.let_go()
        data = self._readers.read(self._body, size, self._caller)
        self._turn.take()
        if self._left is not None:
            self._left = max(0, self._left - len(data))
        return data


def _caller(environ: WSGIEnvironment) -> int | str:
    if environ.get("PATH_INFO", "").startswith(_CALLBACKS):
        return _CALLBACKS
    return hash(environ.get("HTTP_AUTHORIZATION", ""))  # a key is not kept; two that collide share


class _Refusals:
    """Says that requests are refused, at most once a second and with their number: an overload is no time to log."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._unsaid = 0
        self._said_at = float("-inf")

    def count(self) -> None:
        with self._lock:
            self._unsaid += 1
            now = self._clock()
            if now - self._said_at < _SAY_SECONDS:
                return
            number, self._unsaid, self._said_at = self._unsaid, 0, now
        log.warning("overloaded", refused=number)
