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
    @rule(choice=some.choices, code=some.codes, outcomes=st.tuples(some.outcomes, some.outcomes), by=some.two_gateways)
    def a_report_comes_before_the_answer(
        self, choice: int, code: str, outcomes: tuple[Outcome, Outcome], by: tuple[str, str]
    ) -> None:
        """Of the same gateway, or of another that was tried first."""
        worker, task = self.task(choice)
        self.arm(worker, task, code)
        life = self.model.lives[task.entry.id]
        id_, send, number = life.id, task.entry.send, life.request.number
        self.same(
            lambda: self.world.verifications.report(id_, send, by[0], number, outcomes[0]),
            lambda: self.model.report(id_, send, by[0], number, outcomes[0]),
        )
        self.settle(worker, task, outcomes[1], by[1])

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
                assert value["ds"] not in {"queued", "sending"}, key

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
