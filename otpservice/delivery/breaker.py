"""A circuit breaker: after enough failures in a row a gateway is left alone for a while, then tried with one send."""

from __future__ import annotations

from collections.abc import Callable

_FAILURES_TO_OPEN = 5
REST_SECONDS = 30.0


class Breaker:
    """Closed (sends go through), open (none do), half-open (one does, and decides).

    ``clock`` gives monotonic seconds; an open one is tried again after ``rest_seconds``, or when ``open``, ``rest``
    and ``may_try`` say so, by which the workers agree on who tries. Not for use from several threads.
    """

    def __init__(self, clock: Callable[[], float], rest_seconds: float = REST_SECONDS) -> None:
        self._clock = clock
        self._rest_seconds = rest_seconds
        self._failures = 0
        self._rests_until: float | None = None  # None: closed
        self._is_probing = False
        self._turn: tuple[float, float] | None = None  # when a turn to try ends unused, and when that is forgotten
        # Whether a send would have gone to the gateway since it opened or was last tried.
        self.is_wanted = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing is known to be wrong with the gateway."""
        return self._rests_until is None

    @property
    def is_probing(self) -> bool:
        """Whether the send that decides is under way."""
        return self._is_probing

    @property
    def has_turn(self) -> bool:
        """Whether the next send may try the gateway, as ``may_try`` said, and none has yet."""
        return self._turn is not None

    @property
    def is_open(self) -> bool:
        """Whether sends should go elsewhere, where there is an elsewhere."""
        if self._rests_until is None:
            return False
        now = self._clock()
        has_missed_its_turn = self._turn is not None and self._turn[0] <= now < self._turn[1]
        return self._is_probing or now < self._rests_until or has_missed_its_turn

    def begin(self) -> bool:
        """A send goes to the gateway. Returns whether the breaker is half-open and this is the send that decides."""
        if self._rests_until is None or self.is_open:
            return False
        self._is_probing, self._turn, self.is_wanted = True, None, False
        return True

    def abandoned(self) -> None:
        """A send ended in a way that says nothing of the gateway; a probe is still owed."""
        self._is_probing = False

    def succeeded(self) -> bool:
        """The gateway took a send, or refused it for a good reason. Returns whether that closed the breaker."""
        was_open = self._rests_until is not None
        self.close()
        return was_open

    def failed(self, *, at_once: bool = False) -> bool:
        """The gateway failed; ``at_once`` where the next send would surely fail too.

        Returns whether that opened the breaker.
        """
        if self._rests_until is not None:
            # Sends that were under way when it opened, or had nowhere else to go, prolong nothing.
            if self._is_probing:
                self._rests_until, self._is_probing = self._clock() + self._rest_seconds, False
            return False
        self._failures += 1
        if not at_once and self._failures < _FAILURES_TO_OPEN:
            return False
        self.open(self._rest_seconds)
        return True

    def open(self, seconds: float) -> None:
        """Leave the gateway alone for ``seconds``."""
        self._rests_until, self._is_probing, self._turn = self._clock() + seconds, False, None
        self.is_wanted = False

    def close(self) -> None:
        """Forget all failures."""
        self._failures, self._rests_until, self._is_probing, self._turn = 0, None, False, None
        self.is_wanted = False

    def rest(self, seconds: float) -> None:
        """Another worker tries the gateway, or it is too early: try nothing here for ``seconds``."""
        if self._rests_until is not None and not self._is_probing:
            self._rests_until, self._turn = self._clock() + seconds, None

    def may_try(self, seconds: float, grace_seconds: float) -> None:
        """The next send may try the gateway, and decides, if it comes within ``seconds``.

        After that the turn is another worker's, and this one rests; only when it has heard nothing for
        ``grace_seconds`` it tries by itself.
        """
        if self._rests_until is not None:
            now = self._clock()
            self._rests_until, self._turn = now, (now + seconds, now + seconds + grace_seconds)
            self.is_wanted = False
