"""The real parts that the state machine drives: the store on a Valkey whose clock is held, and delivery workers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from otpservice.store.connection import connect
from otpservice.store.outbox import GROUP, Armed, Entry, Outbox, Refused
from otpservice.store.verifications import Verifications
from otpservice.verification.digests import Keyring
from otpservice.verification.errors import VerificationError
from otpservice.verification.lifecycle import Fallback, Outcome
from otpservice.verification.limits import Rule
from otpservice.verification.policy import Policy
from tests.properties.clock import Clock, held, hold, hold_outbox
from tests.properties.model import Code

OUTBOX = "otp:{0}:outbox"
_RANDOM = re.compile(r"[A-Za-z0-9_-]{20,}|[0-9]{12,}")  # ids, digests, times

LOGIN = Policy(
    tenant="login",
    fallback=Fallback.SMS,
    code_length=6,
    default_region=None,
    regions=frozenset(),
    max_attempts=3,
    max_sends=3,
    ttl_ms=300_000,
    resend_after_ms=30_000,
    retention_ms=900_000,
    deadline_ms=20_000,
    max_backlog=6,
    number_rules=(Rule(4, 600), Rule(20, 86400)),
    failure_rules=(Rule(4, 3600),),
    ip_rules=(),
    tenant_rules=(),
)
SIGNUP = Policy(
    tenant="signup",
    fallback=Fallback.NONE,
    code_length=4,
    default_region=None,
    regions=frozenset(),
    max_attempts=5,
    max_sends=2,
    ttl_ms=600_000,
    resend_after_ms=0,
    retention_ms=60_000,
    deadline_ms=5_000,
    max_backlog=8,
    number_rules=(Rule(3, 60),),
    failure_rules=(),
    ip_rules=(Rule(3, 300),),
    tenant_rules=(Rule(9, 3600),),
)
TENANTS = {policy.tenant: policy for policy in (LOGIN, SIGNUP)}


def told(call: Callable[[], Any]) -> Any:
    """What a call says: its answer, or the name and the content of its refusal."""
    try:
        return call()
    except VerificationError as error:
        return type(error).__name__, vars(error)


@dataclass
class Task:
    """A send that a worker has read; ``armed`` and by what once it is, ``refusal`` where that was refused."""

    entry: Entry
    armed: Armed | None = None
    code: Code | None = None
    refusal: str | None = None


@dataclass
class Delivering:
    """A delivery worker, and what it has in hand."""

    outbox: Outbox
    tasks: list[Task] = field(default_factory=list)


class World:
    """Everything real. ``reset`` begins anew; ``close`` ends it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.clock = Clock(url)
        self._client, self._async_client = held(self.clock, url)
        self._runner = asyncio.Runner()
        self._threads = ThreadPoolExecutor(4)
        self.reset()

    def close(self) -> None:
        self._threads.shutdown()
        self._runner.run(self._async_client.aclose())
        self._runner.close()
        self._client.close()
        self.clock.client.close()

    def reset(self) -> None:
        self.clock.reset()
        self.workers: dict[str, Delivering] = {}
        self.rotate([0])
        self.clock.client.xgroup_create(OUTBOX, GROUP, id="0", mkstream=True)
        self.clock.client.expire(OUTBOX, 86_400)
        self.clock.hold()

    def rotate(self, eras: list[int]) -> None:
        """Use the secret keys of ``eras``, newest first. What workers have in hand stays in hand."""
        keyring = Keyring([f"the secret key of era {era}, which is long enough".encode() for era in eras])
        self.verifications = hold(Verifications(self._client, keyring, 1), self._client)
        self.workers = {
            name: Delivering(
                hold_outbox(Outbox(self._async_client, self._async_client, keyring, 1, name), self._async_client),
                self.workers[name].tasks if name in self.workers else [],
            )
            for name in ("first", "second", "third")
        }

    @contextmanager
    def by_its_own_clock(self) -> Iterator[Verifications]:
        """The store with nothing changed: the scripts as they are, by the clock of Redis."""
        with connect(self._url) as client:
            yield Verifications(client, self.verifications._keyring, 1)

    def read(self, worker: Delivering, count: int) -> list[Entry]:
        return self._take(worker, self._runner.run(worker.outbox.read(count, block_ms=1)))

    def claim(self, worker: Delivering) -> list[Entry]:
        """Take over whatever any worker has, dead or alive."""
        return self._take(worker, self._runner.run(worker.outbox.claim(idle_ms=0, count=100)))

    def arm(self, worker: Delivering, task: Task, code: str) -> Armed | Refused:
        return self._runner.run(worker.outbox.arm(task.entry, code))

    def settle(self, worker: Delivering, task: Task, outcome: Outcome | None, gateway: str | None) -> bool:
        return self._runner.run(worker.outbox.settle(task.entry, outcome, gateway, armed=task.armed))

    def from_many_sides(self, call: Callable[[], Any], times: int) -> list[Any]:
        """What each of several threads is told."""
        return [future.result() for future in [self._threads.submit(told, call) for _ in range(times)]]

    def pending(self) -> int:
        """How many sends were read and not settled."""
        if not self.clock.client.exists(OUTBOX):
            return 0
        return int(self.clock.client.xpending(OUTBOX, GROUP)["pending"])

    def stored(self) -> dict[str, Any]:
        """All that Redis holds: each key's value."""
        client = self.clock.client
        names = sorted(map(str, client.keys("otp:*")))
        pipeline = client.pipeline(transaction=False)
        for name in names:
            if ":v:" in name:
                pipeline.hgetall(name)
            elif name == OUTBOX:
                pipeline.xrange(name)
            else:
                pipeline.get(name)
        return dict(zip(names, pipeline.execute(), strict=True))

    def _take(self, worker: Delivering, entries: list[Entry]) -> list[Entry]:
        self.clock.hold()
        in_hand = {task.entry.entry_id for task in worker.tasks}
        worker.tasks += [Task(entry) for entry in entries if entry.entry_id not in in_hand]
        return entries


def readable(stored: dict[str, Any]) -> str:
    """What is stored as text, without the ids, digests and times that look like anything by chance."""
    return _RANDOM.sub("#", str(stored))
