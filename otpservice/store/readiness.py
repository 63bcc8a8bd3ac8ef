"""Whether the service can work."""

from __future__ import annotations

import time

from otpservice.store import keys, scripts
from otpservice.store.admission import Run, rule_arguments
from otpservice.store.running import Runner
from otpservice.store.slots import REDIRECT_SECONDS
from otpservice.verification.errors import StoreUnavailableError
from otpservice.verification.limits import Rule

_RULES = (Rule(1_000_000, 1),)  # which no number of checks reaches


class Readiness:
    """Runs a script that writes. On a cluster one node that does is enough: the others' share is served."""

    def __init__(self, runner: Runner, partitions: int, run: Run) -> None:
        self._runner = runner
        self._run = run
        self._keys = [keys.readiness(partition) for partition in range(partitions)]
        self._key = self._keys[0]  # what was answered last

    def check(self) -> None:
        """Ask the node that answered last, then the others while there is time. Raises StoreUnavailableError."""
        ends = time.monotonic() + REDIRECT_SECONDS
        asked: set[object] = set()
        while True:
            key = self._key
            asked.add(self._runner.home(key))
            try:
                self._run(scripts.LIMIT, [key], rule_arguments(_RULES))
            except StoreUnavailableError:
                others = [other for other in self._keys if self._runner.home(other) not in asked]
                # The next check begins elsewhere, also where there is no time for it in this one.
                self._key = others[0] if others else self._keys[0]
                if not others or time.monotonic() > ends:
                    raise
            else:
                return
