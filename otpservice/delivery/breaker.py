"""A circuit breaker: after enough failures in a row a gateway is left alone for a while, then tried with one send."""

from __future__ import annotations

from collections.abc import Callable

_FAILURES_TO_OPEN = 5
_OPEN_SECONDS = 30.0


class Breaker:
    """Closed (sends go through), open (none do), half-open (one does, and decides).

    ``clock`` gives monotonic seconds. Not for use from several threads.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        """Whether sends should go elsewhere, where there is an elsewhere."""
        if self._opened_at is None:
            return False
        return self._is_probing or self._clock() - self._opened_at < _OPEN_SECONDS

    def begin(self) -> None:
        """A send goes to the gateway; where the breaker is half-open, it is the one that decides."""
        if self._opened_at is not None and not self.is_open:
            self._is_probing = True

    def succeeded(self) -> bool:
        """The gateway took a send, or refused it for a good reason. Returns whether that closed the breaker."""
        was_open = self._opened_at is not None
        self._failures, self._opened_at, self._is_probing = 0, None, False
        return was_open

    def failed(self, *, at_once: bool = False) -> bool:
        """The gateway failed; ``at_once`` where the next send would surely fail too.

        Returns whether that opened the breaker.
        """
        self._failures += 1
        was_open = self._opened_at is not None
        if at_once or self._is_probing or self._failures >= _FAILURES_TO_OPEN:
            self._opened_at, self._is_probing = self._clock(), False
        return self._opened_at is not None and not was_open

    def abandoned(self) -> None:
        """A send ended in a way that says nothing of the gateway; a probe is still owed."""
        self._is_probing = False
