"""The state machine's delivery workers, which may die, and the gateways, which may lie."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from otpservice.delivery.gateways.mobilgroup import read_report
from otpservice.verification.lifecycle import Outcome
from tests.properties import strategies as some
from tests.properties.machine import Machine
from tests.properties.world import OUTBOX


class Delivering(Machine):
    """Sends are read, armed and settled by several workers, reports come in any order, or neither happens."""

    @precondition(lambda self: self.model.backlog)
    @rule(name=some.workers, count=st.integers(1, 3), is_claiming=st.booleans())
    def a_worker_takes_sends(self, name: str, count: int, is_claiming: bool) -> None:
        """Claiming takes also what another worker, dead or only slow, has in hand."""
        worker = self.world.workers[name]
        if is_claiming:
            self.world.claim(worker)
        else:
            self.world.read(worker, count)

    @precondition(lambda self: self.has_tasks)
    @rule(choice=some.choices, code=some.codes)
    def a_worker_arms(self, choice: int, code: str) -> None:
        worker, task = self.task(choice)
        self.arm(worker, task, code)

    @precondition(lambda self: self.has_tasks)
    @rule(choice=some.choices, code=some.codes, outcome=some.outcomes, gateway=some.gateways)
    def a_worker_settles(self, choice: int, code: str, outcome: Outcome, gateway: str) -> None:
        worker, task = self.task(choice)
        if task.code is None:
            self.arm(worker, task, code)
        self.settle(worker, task, outcome, gateway)

    @precondition(lambda self: self.has_tasks)
    @rule(choice=some.choices, code=some.codes, outcome=some.outcomes, gateway=some.gateways)
    def a_resend_overtakes_a_send(self, choice: int, code: str, outcome: Outcome, gateway: str) -> None:
        """The answer of the gateway comes when its send is no longer the current one."""
        worker, task = self.task(choice)
        self.arm(worker, task, code)
        self.resend_when_due(self.model.lives[task.entry.id], None)
        self.settle(worker, task, outcome, gateway)

    @precondition(lambda self: self.has_tasks)
    @rule(choice=some.choices, code=some.codes, outcomes=some.three_outcomes, by=some.three_gateways)
    def reports_come_before_and_after_the_answer(
        self, choice: int, code: str, outcomes: tuple[Outcome, Outcome, Outcome], by: tuple[str, str, str]
    ) -> None:
        """Of the same gateway, or of another that was tried first."""
        worker, task = self.task(choice)
        self.arm(worker, task, code)
        life = self.model.lives[task.entry.id]
        self.report(life, task.entry.send, by[0], outcomes[0])
        self.settle(worker, task, outcomes[1], by[1])
        self.report(life, task.entry.send, by[2], outcomes[2])

    @precondition(lambda self: self.has_tasks)
    @rule(
        choice=some.choices,
        codes=st.tuples(some.codes, some.codes),
        outcomes=st.tuples(some.outcomes, some.outcomes),
        by=some.two_gateways,
        is_late=st.booleans(),
        is_used=st.booleans(),
        is_rotated=st.sampled_from([True, False, False]),
    )
    def a_slow_worker_is_taken_for_dead(
        self,
        choice: int,
        codes: tuple[str, str],
        outcomes: tuple[Outcome, Outcome],
        by: tuple[str, str],
        is_late: bool,
        is_used: bool,
        is_rotated: bool,
    ) -> None:
        """Another arms a code of its own, and one of them ends first; perhaps the person uses the newer code before."""
        worker, task = self.task(choice)
        other = self.world.workers["third" if worker is self.world.workers["first"] else "first"]
        names = [name for who in (worker, other) for name, known in self.world.workers.items() if known is who]
        self.arm(worker, task, codes[0])
        self.world.claim(other)
        taken = [found for found in other.tasks if found.entry == task.entry]
        if is_rotated:
            self.model.eras = [max(self.model.eras) + 1, *self.model.eras][:4]
            self.world.rotate(self.model.eras)
            worker, other = (self.world.workers[name] for name in names)
        for found in taken:
            self.arm(other, found, codes[1])
        life = self.model.lives[task.entry.id]
        if is_used:
            right, bound, policy = self.code(life, "right"), life.request.binding, life.policy
            answer = self.same(
                lambda: self.world.verifications.verify(life.id, right, bound, policy),
                lambda: self.model.verify(life.id, right, bound, policy),
            )
            self.count(life, answer)
        first = [(worker, task, outcomes[0], by[0])]
        second = [(other, found, outcomes[1], by[1]) for found in taken]
        for ending in second + first if is_late else first + second:
            self.settle(*ending)

    @precondition(lambda self: self.has_tasks)
    @rule(name=some.workers)
    def a_worker_dies(self, name: str) -> None:
        """It forgets everything; Redis still holds it for the owner of what it had read."""
        self.world.workers[name].tasks.clear()

    @precondition(lambda self: self.model.backlog)
    @rule(name=some.workers, code=some.codes, outcome=some.outcomes, gateway=some.gateways)
    def a_worker_does_all_there_is(self, name: str, code: str, outcome: Outcome, gateway: str) -> None:
        """I3: once a worker has run, every start and resend has ended in a hand-over or in a recorded failure."""
        worker = self.world.workers[name]
        self.world.claim(worker)
        while self.world.read(worker, 100):
            pass
        for task in list(worker.tasks):
            self.arm(worker, task, code)
            self.settle(worker, task, outcome, gateway)
        stored = self.world.stored()
        assert stored.get(OUTBOX, []) == []
        assert self.world.pending() == 0
        assert self.model.backlog == 0
        for key, value in stored.items():
            if ":v:" in key:
                assert value.get("d") not in {None, "sending"}, key

    @precondition(lambda self: self.has_lives)
    @rule(choice=some.choices, send=st.sampled_from([0, 0, 0, 0, -1, 1]), gateway=some.gateways, report=some.reports)
    def a_gateway_reports(self, choice: int, send: int, gateway: str, report: some.Report) -> None:
        """Early, late, twice, of a send that a resend replaced, with another number; it always repeats the code."""
        life = self.life(choice)
        number = report.number or life.request.number
        read = read_report(report.body(number, self.code(life, "right")))
        self.same(
            lambda: self.world.verifications.report(life.id, life.send + send, gateway, read.number, read.outcome),
            lambda: self.model.report(life.id, life.send + send, gateway, number, read.outcome),
        )
