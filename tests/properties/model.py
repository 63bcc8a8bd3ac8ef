"""The life cycle as DESIGN and API tell it, in plain Python: what the store is held against.

No scripts, no keys, no hashes: a clear code is a clear code here, and one thing happens after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from otpservice.store.outbox import Armed, Refused
from otpservice.store.verifications import Start, Started
from otpservice.verification.errors import (
    CodeNotSentError,
    EndedError,
    IncorrectCodeError,
    NoSendsLeftError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    TooSoonError,
)
from otpservice.verification.lifecycle import Delivery, DeliveryState, Fallback, Outcome, Status, Verification
from otpservice.verification.limits import Rule
from otpservice.verification.numbers import mask
from otpservice.verification.policy import Policy
from tests.properties.gcra import Gcras

DAY_MS = 86_400_000
LONGEST_LIFE_MS = 600_000
_QUEUED = Delivery(DeliveryState.QUEUED, None, None, None, None)


@dataclass
class Life:
    """One verification. Times are in milliseconds; ``era`` names the secret key that was the newest at its start."""

    id: str
    policy: Policy
    request: Start
    era: int
    created: int
    expires: int
    last_send: int
    gone: int  # the last millisecond in which there is anything of it
    fallback: Fallback
    attempts_left: int
    sends_left: int
    send: int = 1
    status: Status = Status.PENDING
    code: str | None = None
    code_era: int = 0
    delivery: Delivery = _QUEUED
    reporter: str | None = None

    def view(self) -> Verification:
        may_resend = self.status is Status.PENDING and self.sends_left > 0
        return Verification(
            id=self.id,
            status=self.status,
            number=mask(self.request.number),
            purpose=self.request.purpose,
            code_length=self.request.code_length,
            fallback=self.fallback,
            attempts_left=self.attempts_left,
            sends_left=self.sends_left,
            created_at=self.created,
            expires_at=self.expires,
            resend_at=self.last_send + self.policy.resend_after_ms if may_resend else None,
            delivery=self.delivery,
        )


@dataclass(frozen=True)
class First:
    """What an Idempotency-Key started."""

    id: str
    created: int


@dataclass
class Model:
    """All verifications. ``clock`` tells microseconds since 1970; ``eras`` are the secret keys, newest first."""

    clock: Callable[[], int]
    eras: list[int] = field(default_factory=lambda: [0])
    lives: dict[str, Life] = field(default_factory=dict)
    _firsts: dict[tuple[str, str, str, int], First] = field(default_factory=dict)
    _limits: dict[tuple[str, ...], Gcras] = field(default_factory=dict)
    _outbox: set[tuple[str, int]] = field(default_factory=set)
    _outbox_ends: int = 0

    @property
    def now(self) -> int:
        return self.clock() // 1000

    # What tenants ask for.

    def start(self, id: str, request: Start, policy: Policy) -> Started:
        """``id`` is what it is called if it comes to be."""
        self._charge(policy.tenant_rules, "tenant", policy.tenant)
        key = (policy.tenant, request.number, request.idempotency_key or "", self.eras[0])
        first = self._firsts.get(key) if request.idempotency_key is not None else None
        if first is not None and self.now <= first.created + DAY_MS:
            earlier = self._present(first.id)
            return Started(earlier.view() if earlier else _forgotten(first, request, policy), replayed=True)
        self._require_room(policy)
        self._charge_number(policy, request.number, self.eras[0])
        life = Life(
            id=id,
            policy=policy,
            request=request,
            era=self.eras[0],
            created=self.now,
            expires=self.now + policy.ttl_ms,
            last_send=self.now,
            gone=self.now + policy.ttl_ms + policy.retention_ms,
            fallback=request.fallback,
            attempts_left=policy.max_attempts,
            sends_left=policy.max_sends - 1,
        )
        self.lives[id] = life
        self._enqueue(life)
        if request.idempotency_key is not None:
            self._firsts[key] = First(id, self.now)
        return Started(life.view(), replayed=False)

    def verify(self, id: str, code: str, binding: str | None, policy: Policy) -> Verification:
        life = self._pending(id, policy)
        if life.code is None:
            raise CodeNotSentError
        limits = self._of_number("failures", policy.failure_rules, policy, life.request.number, life.era)
        if (wait := limits.wait_ms(self.clock())) > 0:
            raise RateLimitedError("number-failures", wait)
        bound = life.request.binding
        is_bound = binding is None if bound is None else binding == bound and life.era in self.eras
        if code == life.code and life.code_era in self.eras and is_bound:
            self._end(life, Status.VERIFIED)
            return life.view()
        limits.take(self.clock())
        life.attempts_left -= 1
        if life.attempts_left == 0:
            self._end(life, Status.EXHAUSTED)
        raise IncorrectCodeError(life.attempts_left)

    def resend(self, id: str, fallback: Fallback | None, policy: Policy) -> Verification:
        life = self._pending(id, policy)
        if life.sends_left == 0:
            raise NoSendsLeftError
        if (wait := life.last_send + policy.resend_after_ms - self.now) > 0:
            raise TooSoonError("", wait)
        self._require_room(policy)
        self._charge_number(policy, life.request.number, life.era)
        life.sends_left -= 1
        life.send += 1
        life.last_send = self.now
        life.expires = min(self.now + policy.ttl_ms, life.created + LONGEST_LIFE_MS)
        life.gone = life.expires + policy.retention_ms
        life.fallback = fallback or life.fallback
        life.code, life.delivery, life.reporter = None, _QUEUED, None
        self._enqueue(life)
        return life.view()

    def cancel(self, id: str, policy: Policy) -> Verification:
        life = self._own(id, policy)
        if life.status is Status.PENDING:
            self._end(life, Status.CANCELLED)
        elif life.status is not Status.CANCELLED:
            raise EndedError(life.status)
        return life.view()

    def get(self, id: str, policy: Policy) -> Verification:
        return self._own(id, policy).view()

    # What workers and gateways do.

    def arm(self, id: str, send: int, deadline: int, code: str) -> Armed | Refused:
        life = self._present(id)
        if life is None or life.send != send or not life.delivery.state.is_open:
            return Refused(None)
        if life.status is not Status.PENDING:
            return Refused(life.status)
        if self.now >= deadline:
            return Refused("deadline")
        life.code, life.code_era = code, self.eras[0]
        life.delivery = Delivery(DeliveryState.SENDING, None, None, None, None)
        return Armed(life.policy.tenant, life.request.number, life.fallback, deadline - self.now)

    def settle(self, id: str, send: int, outcome: Outcome | None, gateway: str | None) -> bool:
        """A report overrides the answer, but for a failure that another gateway than the last one reported."""
        self._outbox.discard((id, send))
        life = self._kept(id)
        if outcome is None or life is None or life.send != send:
            return False
        if life.reporter is not None and (life.reporter == gateway or life.delivery.state is not DeliveryState.FAILED):
            return False
        life.delivery = _delivery(outcome, gateway)
        return True

    def report(self, id: str, send: int, gateway: str, number: str, outcome: Outcome) -> str:
        life = self._kept(id)
        if life is None or life.send != send:
            return "stale"
        if number != life.request.number or life.era not in self.eras:
            return "wrong-number"
        is_other = life.delivery.gateway not in {None, gateway}
        if life.delivery.state is DeliveryState.DELIVERED or (outcome.state is DeliveryState.FAILED and is_other):
            return "unchanged"
        life.delivery, life.reporter = _delivery(outcome, gateway), gateway
        return "recorded"

    @property
    def backlog(self) -> int:
        """How many sends wait or are under way. The outbox goes away after a day without a start or resend."""
        if self.now > self._outbox_ends:
            self._outbox.clear()
        return len(self._outbox)

    def instants(self, life: Life) -> list[int]:
        """The moments at which something about it changes by itself, in milliseconds."""
        return [
            life.last_send + life.policy.deadline_ms,
            life.last_send + life.policy.resend_after_ms,
            life.expires,
            life.gone,
            life.created + DAY_MS,
        ]

    # How it comes to that.

    def _kept(self, id: str) -> Life | None:
        life = self.lives.get(id)
        return life if life is not None and self.now <= life.gone else None

    def _present(self, id: str) -> Life | None:
        life = self._kept(id)
        if life is not None and life.status is Status.PENDING and self.now >= life.expires:
            life.status, life.code = Status.EXPIRED, None
        return life

    def _own(self, id: str, policy: Policy) -> Life:
        life = self._kept(id)
        if life is None or life.policy.tenant != policy.tenant:
            raise NotFoundError
        self._present(id)
        return life

    def _pending(self, id: str, policy: Policy) -> Life:
        life = self._own(id, policy)
        if life.status is not Status.PENDING:
            raise EndedError(life.status)
        return life

    def _end(self, life: Life, status: Status) -> None:
        life.status, life.code, life.gone = status, None, self.now + life.policy.retention_ms

    def _require_room(self, policy: Policy) -> None:
        if self.backlog >= policy.max_backlog:
            raise OverloadedError("", 5000)

    def _enqueue(self, life: Life) -> None:
        self._outbox.add((life.id, life.send))
        self._outbox_ends = self.now + DAY_MS

    def _charge_number(self, policy: Policy, number: str, era: int) -> None:
        limits = self._of_number("starts", policy.number_rules, policy, number, era)
        self._take(limits, "number")

    def _charge(self, rules: tuple[Rule, ...], limit: str, *name: str) -> None:
        self._take(self._limits.setdefault((limit, *name), Gcras(rules)), limit)

    def _of_number(self, kind: str, rules: tuple[Rule, ...], policy: Policy, number: str, era: int) -> Gcras:
        """The limits of a number are under the secret key that was the newest."""
        return self._limits.setdefault((kind, policy.tenant, number, str(era)), Gcras(rules))

    def _take(self, limits: Gcras, limit: str) -> None:
        if (wait := limits.wait_ms(self.clock())) > 0:
            raise RateLimitedError(limit, wait)
        limits.take(self.clock())


def _delivery(outcome: Outcome, gateway: str | None) -> Delivery:
    return Delivery(outcome.state, outcome.channel, outcome.reason, outcome.price, gateway)


def _forgotten(first: First, request: Start, policy: Policy) -> Verification:
    """Of a verification that its Idempotency-Key outlived, that it is over."""
    return Verification(
        id=first.id,
        status=Status.EXPIRED,
        number=mask(request.number),
        purpose=request.purpose,
        code_length=request.code_length,
        fallback=request.fallback,
        attempts_left=0,
        sends_left=0,
        created_at=first.created,
        expires_at=first.created + policy.ttl_ms,
        resend_at=None,
        delivery=Delivery(DeliveryState.FAILED, None, "forgotten", None, None),
    )
