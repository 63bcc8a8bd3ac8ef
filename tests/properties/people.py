"""The state machine's tenants, and the people who type codes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from otpservice.store.records import Start, Started
from otpservice.verification.lifecycle import Fallback
from tests.properties import strategies as some
from tests.properties.machine import Machine, agree
from tests.properties.model import Life
from tests.properties.world import TENANTS, told


class People(Machine):
    """They ask for whatever they like, in any order."""

    @rule(tenant=some.tenants, request=some.requests)
    def start(self, tenant: str, request: Start) -> None:
        policy = TENANTS[tenant]
        answer = told(lambda: self.world.verifications.start(request, policy))
        id_ = answer.verification.id if isinstance(answer, Started) else "none"
        agree(answer, told(lambda: self.model.start(id_, request, policy)))

    @rule(tenant=some.tenants, request=some.requests, code=some.codes, steps=st.sampled_from([1, 2, 3, 3]))
    def start_and_have_it_sent(self, tenant: str, request: Start, code: str, steps: int) -> None:
        """Read, armed and settled, or only as far as that."""
        self.start(tenant, request)
        worker = self.world.workers["first"]
        for entry in self.world.read(worker, 100):
            [task] = [task for task in worker.tasks if task.entry == entry]
            if steps > 1:
                self.arm(worker, task, code)
            if steps > 2:
                self.settle(worker, task, some.ARRIVED, "one")

    @precondition(lambda self: self.has_lives)
    @rule(
        choice=some.choices,
        which=some.choices_of_code,
        binding=some.choices_of_binding,
        max_sends=st.sampled_from([None] * 9 + [1]),
    )
    def verify(self, choice: int, which: str, binding: str, max_sends: int | None) -> None:
        """Perhaps where the operator has lowered ``max_sends`` since."""
        life = self.life(choice)
        policy = replace(life.policy, max_sends=max_sends or life.policy.max_sends)
        bindings = {"same": life.request.binding, "none": None, "other": "another session", "empty": ""}
        code, bound = self.code(life, which), bindings[binding]
        answer = self.same(
            lambda: self.world.verifications.verify(life.id, code, bound, policy),
            lambda: self.model.verify(life.id, code, bound, policy),
        )
        self.count(life, answer)

    @precondition(lambda self: self.has_lives)
    @rule(choice=some.choices, which=st.sampled_from(["right", "wrong"]), times=st.integers(2, 5))
    def verify_from_many_sides_at_once(self, choice: int, which: str, times: int) -> None:
        life = self.life(choice)
        code, bound = self.code(life, which), life.request.binding
        answers = self.world.from_many_sides(
            lambda: self.world.verifications.verify(life.id, code, bound, life.policy), times
        )
        expected = [told(lambda: self.model.verify(life.id, code, bound, life.policy)) for _ in range(times)]
        agree(sorted(map(repr, answers)), sorted(map(repr, expected)))
        for answer in answers:
            self.count(life, answer)

    @precondition(lambda self: self.has_lives)
    @rule(choice=some.choices, fallback=st.none() | st.sampled_from(Fallback), is_patient=st.booleans())
    def resend(self, choice: int, fallback: Fallback | None, is_patient: bool) -> None:
        if is_patient:
            self.resend_when_due(self.life(choice), fallback)
        else:
            self.resend_now(self.life(choice), fallback)

    @precondition(lambda self: self.has_lives)
    @rule(choice=some.choices, is_cancelled=st.sampled_from([True, False, False, False]))
    def look_and_perhaps_cancel(self, choice: int, is_cancelled: bool) -> None:
        life, verifications = self.life(choice), self.world.verifications
        self.same(lambda: verifications.get(life.id, life.policy), lambda: self.model.get(life.id, life.policy))
        if is_cancelled:
            self.same(
                lambda: verifications.cancel(life.id, life.policy), lambda: self.model.cancel(life.id, life.policy)
            )

    @precondition(lambda self: self.has_lives)
    @rule(choice=some.choices)
    def a_stranger_asks(self, choice: int) -> None:
        """I5: of another tenant's verification nothing is learnt and nothing changes, not even with the right code."""
        life: Life = self.life(choice)
        verifications = self.world.verifications
        [stranger] = [policy for policy in TENANTS.values() if policy.tenant != life.policy.tenant]
        before = self.snapshot()
        for ask in (
            lambda: verifications.verify(life.id, self.code(life, "right"), life.request.binding, stranger),
            lambda: verifications.resend(life.id, None, stranger),
            lambda: verifications.cancel(life.id, stranger),
            lambda: verifications.get(life.id, stranger),
        ):
            assert told(ask) == ("NotFoundError", {})
        assert self.snapshot() == before
