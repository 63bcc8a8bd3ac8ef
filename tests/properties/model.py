"""The life cycle as DESIGN and API tell it, in plain Python: what the store is held against.

No scripts, no keys, no hashes: a clear code is a clear code here, and one thing happens after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from otpservice.store.outbox import Armed, Refused
from otpservice.store.records import Start, Started
from otpservice.verification.errors import (
    CodeNotSentError,
    EndedError,
    IncorrectCodeError,
    NoSendsLeftError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    RetryLaterError,
    StoreUnavailableError,
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


@dataclass(frozen=True)
class Code:
    """What a send was armed with; ``era`` names the secret key that it was hashed under."""

    send: int
    text: str
    era: int


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
    code: Code | None = None
    delivery: Delivery = _QUEUED
    request_id: str | None = None
    reporter: str | None = None  # the gateway that reported last of this send
    is_reported: bool = False  # whether ``delivery`` is what it reported

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
        key = (policy.tenant, request.number, request.idempotency_key or "", self.eras[0])
        first = self._firsts.get(key) if request.idempotency_key is not None else None
        is_replay = first is not None and self.now <= first.created + DAY_MS
        admitted = self._admit(request, policy, is_replay=is_replay)
        if first is not None and is_replay:
            earlier = self._present(first.id)
            return Started(earlier.view() if earlier else _forgotten(first, request, policy), replayed=True)
        try:
            self._require_room(policy)
            self._charge_number(policy, request.number, self.eras[0])
        except RetryLaterError:
            for limit in admitted:
                limit.give_back()
            raise
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
        if life.code.era not in self.eras or life.send > policy.max_sends:
            raise StoreUnavailableError("", 5000)  # nothing to compare with, so nothing is wrong and nothing is counted
        bound = life.request.binding
        is_bound = binding is None if bound is None else binding == bound and life.era in self.eras
        if code == life.code.text and is_bound:
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
        life.code, life.delivery, life.request_id, life.reporter, life.is_reported = None, _QUEUED, None, None, False
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
        life.code = Code(send, code, self.eras[0])
        life.delivery = Delivery(DeliveryState.SENDING, None, None, None, None)
        return Armed(life.policy.tenant, life.request.number, life.fallback, deadline - self.now, "")

    def settle(self, id: str, send: int, outcome: Outcome | None, gateway: str | None, armed: Code | None) -> bool:
        """What a worker says in the end of a send that went out with ``armed``, None where none did.

        - Where another has armed a code since and it may still be used, the send is that one's: it stays in the outbox.
        - Else it leaves the outbox. Its outcome counts only while it is the current send.
        - A report overrides the answer, but for a failure that another gateway than the answering one reported.
        - With no report, the first word counts, and of the worker whose code may still be used also a later one.
        """
        life = self._kept(id)
        is_current = life is not None and life.send == send
        if life is not None and is_current and armed is not None and life.code not in {None, armed}:
            return False
        self._outbox.discard((id, send))
        if outcome is None or life is None or not is_current:
            return False
        if life.reporter is not None:
            is_overridden = life.reporter == gateway or life.delivery.state is not DeliveryState.FAILED
        else:
            is_overridden = not life.delivery.state.is_open and (armed is None or armed != life.code)
        if is_overridden:
            return False
        life.delivery, life.request_id, life.is_reported = _delivery(outcome, gateway), outcome.request_id, False
        return True

    def report(self, id: str, send: int, gateway: str, number: str, outcome: Outcome) -> str:
        """What a gateway says of the current send, before or after the worker does.

        - What was reported to be delivered is final; what a gateway only answered is not.
        - Of another gateway than the one that speaks for the send, a failure says nothing, and that it has sent says
          something only where the send has failed; that it has delivered always counts.
        - Price and id of the same gateway's earlier word stay where this one has none, but a failure has no price
          unless it says so.
        """
        life = self._kept(id)
        if life is None or life.send != send:
            return "stale"
        if number != life.request.number or life.era not in self.eras:
            return "wrong-number"
        before, has_failed = life.delivery, outcome.state is DeliveryState.FAILED
        if before.state is DeliveryState.DELIVERED and life.is_reported:
            return "unchanged"
        if before.gateway not in {None, gateway}:
            is_news = before.state is DeliveryState.FAILED and not has_failed
            if outcome.state is not DeliveryState.DELIVERED and not is_news:
                return "unchanged"
        elif before.gateway == gateway:
            price = outcome.price if has_failed else outcome.price or before.price
            outcome = replace(outcome, price=price, request_id=outcome.request_id or life.request_id)
        life.delivery, life.request_id, life.is_reported = _delivery(outcome, gateway), outcome.request_id, True
        life.reporter = gateway
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
        if self.backlog > policy.max_backlog:
            raise OverloadedError("", 5000)

    def _enqueue(self, life: Life) -> None:
        self._outbox.add((life.id, life.send))
        self._outbox_ends = self.now + DAY_MS

    def _charge_number(self, policy: Policy, number: str, era: int) -> None:
        limits = self._of_number("starts", policy.number_rules, policy, number, era)
        self._take(limits, "number")

    def _admit(self, request: Start, policy: Policy, *, is_replay: bool) -> list[Gcras]:
        """The limits on what is no number: one refuses for all, and what that or a replay was charged is given back.

        Returns what was charged, to be given back where the number's limit or the backlog refuses later.
        """
        rules: dict[tuple[str, ...], tuple[Rule, ...]] = {("tenant", policy.tenant): policy.tenant_rules}
        if request.ip is not None:
            rules = {("ip", policy.tenant, request.ip, str(self.eras[0])): policy.ip_rules, **rules}
        limits = {name: self._limits.setdefault(name, Gcras(rules[name])) for name in rules}
        waits = {name: limit.wait_ms(self.clock()) for name, limit in limits.items()}
        refusing = [(name[0], wait) for name, wait in waits.items() if wait > 0]
        for name, limit in limits.items():
            if waits[name] == 0:
                limit.take(self.clock())
                if refusing or is_replay:
                    limit.give_back()
        if refusing and not is_replay:
            raise RateLimitedError(*refusing[0])
        return [] if is_replay else list(limits.values())

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
