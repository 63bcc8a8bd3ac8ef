"""Whatever happens in whatever order: the store on a real Valkey answers as the plain model of the life cycle does.

After every step all that Redis holds is looked at too. The names I1 to I8 are DESIGN's, of what always holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from otpservice.store.outbox import Armed
from otpservice.store.records import Start
from otpservice.verification.lifecycle import DeliveryState, Fallback, Outcome, Status
from otpservice.verification.numbers import masked_and_hidden
from tests.profiles import effort
from tests.properties import strategies as some
from tests.properties.delivering import Delivering
from tests.properties.machine import UNAVAILABLE, agree
from tests.properties.model import Model
from tests.properties.people import People
from tests.properties.world import World, readable, told


class LifeCycle(People, Delivering):
    """People and workers, and with them the clock, the operator, and a Redis that may refuse."""

    @rule(microseconds=some.durations)
    def time_passes(self, microseconds: int) -> None:
        self.world.clock.move(microseconds)

    @precondition(lambda self: self.has_lives)
    @rule(
        choice=some.choices,
        nth=st.sampled_from([0, 1, 1, 2, 2, 3, 4]),
        offset=st.sampled_from([-1_000, -1, 0, 1, 1_000]),
    )
    def time_passes_until_something_happens(self, choice: int, nth: int, offset: int) -> None:
        """To the very microsecond of an end, or one beside it."""
        wait = self.model.instants(self.life(choice))[nth] * 1000 + offset - self.world.clock.now_us
        if wait > 0:
            self.world.clock.move(wait)

    @rule(microseconds=st.integers(1, 30_000_000))
    def the_clock_is_set_back(self, microseconds: int) -> None:
        """Not beyond the moment at which a key went away: it would not come back, and the model has no keys."""
        clock = self.world.clock
        clock.move(-min(microseconds, clock.now_us - clock.last_gone_us))

    @rule(is_dropped=st.sampled_from([True, False, False]))
    def the_operator_rotates_the_keys(self, is_dropped: bool) -> None:
        """A new secret key comes first; older ones stay, or all but one are dropped."""
        eras = [max(self.model.eras) + 1, *self.model.eras]
        self.model.eras = eras[:2] if is_dropped else eras
        self.world.rotate(self.model.eras)

    @precondition(lambda self: self.has_lives)
    @rule(how=some.refusals, choice=some.choices, request=some.requests)
    def redis_takes_no_writes(self, how: str, choice: int, request: Start) -> None:
        """I6: nothing verifies, and all is as it was. What needs no write may still be said."""
        life, verifications = self.life(choice), self.world.verifications
        if self.is_an_end_near():
            return
        id_, policy, bound, number = life.id, life.policy, life.request.binding, life.request.number
        code = self.code(life, "right")
        request = replace(request, idempotency_key=None)  # what a key outlived is told by Redis's own clock
        asked: list[tuple[Callable[[], Any], Callable[[Model], Any]]] = [
            (lambda: verifications.verify(id_, code, bound, policy), lambda m: m.verify(id_, code, bound, policy)),
            (lambda: verifications.verify(id_, "9999", None, policy), lambda m: m.verify(id_, "9999", None, policy)),
            (lambda: verifications.start(request, policy), lambda m: m.start(id_, request, policy)),
            (lambda: verifications.resend(id_, None, policy), lambda m: m.resend(id_, None, policy)),
            (lambda: verifications.cancel(id_, policy), lambda m: m.cancel(id_, policy)),
            (lambda: verifications.get(id_, policy), lambda m: m.get(id_, policy)),
            (
                lambda: verifications.report(id_, life.send, "one", number, some.ARRIVED),
                lambda m: m.report(id_, life.send, "one", number, some.ARRIVED),
            ),
        ]
        before = self.snapshot()
        with self.world.clock.refusing(how):
            answers = [told(real) for real, _ in asked]
        assert self.snapshot() == before
        for verified in answers[:2]:
            assert isinstance(verified, tuple), "verified without a write"
        for answer, (_, by_model) in zip(answers, asked, strict=True):
            if not (isinstance(answer, tuple) and answer[0] == UNAVAILABLE):
                unwritten = copy.deepcopy(self.model)
                agree(answer, told(lambda ask=by_model, model=unwritten: ask(model)))  # type: ignore[misc]

    @precondition(lambda self: self.has_tasks)
    @rule(how=some.refusals, choice=some.choices, outcome=some.outcomes)
    def redis_takes_no_writes_of_a_worker(self, how: str, choice: int, outcome: Outcome) -> None:
        """I3: an outcome is recorded and acknowledged, or neither: then the send stays in the outbox.

        Out of memory Redis stops no script whose first write only removes, so settling goes on.
        """
        if self.is_an_end_near():
            return
        worker, task = self.task(choice)
        entry, before, pending = task.entry, self.snapshot(), self.world.pending()
        with self.world.clock.refusing(how):
            armed = told(lambda: self.world.arm(worker, task, "246802"))
            settled = told(lambda: self.world.settle(worker, task, outcome, "one"))
        assert not isinstance(armed, Armed)
        if isinstance(settled, bool):
            agree(settled, self.model.settle(entry.id, entry.send, outcome, "one", task.code))
            worker.tasks.remove(task)
        else:
            assert settled[0] == UNAVAILABLE
            assert (self.snapshot(), self.world.pending()) == (before, pending)

    @invariant()
    def what_is_stored_is_what_the_model_has(self) -> None:
        """I4 and I8: no clear code; a full number in its own pending verification only; and everything has an end."""
        stored, ends = self.snapshot()
        assert stored.keys() == ends.keys(), "a key without an end"
        for id_, life in self.model.lives.items():
            key = f"otp:{{0}}:v:{id_}"
            value = stored.get(key)
            if value is None:
                assert self.model.now > life.gone
                continue
            assert ends[key] == life.gone
            is_pending = life.status is Status.PENDING
            attempts_left, send, _, sends_left, *_ = value["p"].split(" ")
            assert [value.get("s", "pending"), attempts_left, sends_left, send] == [
                *(life.status, str(life.attempts_left), str(life.sends_left), str(life.send))
            ]
            delivery = life.delivery
            state, channel, price, gateway = (*value.get("d", "queued").split(" "), "", "", "")[:4]
            assert state == delivery.state
            assert [text or None for text in (channel, value.get("n"), price, gateway, value.get("q"))] == [
                *(delivery.channel, delivery.reason, delivery.price, delivery.gateway, life.request_id)
            ]
            assert ("r" in value) == is_pending
            hidden, *code_hash = value.pop("r", "").split(" ")
            assert hidden == (masked_and_hidden(life.request.number)[1] if is_pending else "")
            assert bool(code_hash) == (is_pending and life.code is not None)
        text = readable(stored)
        for code in {code for codes in self.codes.values() for code in codes}:
            assert code not in text, "a clear code"
        for number in some.NUMBERS:
            assert number.removeprefix("+") not in text, "a full number"


@pytest.mark.timeout(900)  # a failure is made small before it is shown
def test_the_store_keeps_to_the_life_cycle_whatever_happens(world: World) -> None:
    LifeCycle.world = world
    run_state_machine_as_test(LifeCycle, settings=effort(140, steps=50))


def test_an_answer_that_took_the_place_of_another_gateway_s_report_may_still_be_overridden(world: World) -> None:
    """Only what was reported to have arrived is final: not what a gateway answered after the failure of the first."""
    LifeCycle.world = world
    machine = LifeCycle()
    machine.start("login", Start(some.NUMBERS[0], Fallback.SMS, 6))
    machine.a_worker_takes_sends("first", 1, is_claiming=False)
    failed = Outcome(DeliveryState.FAILED, None, "not_delivered")
    machine.reports_come_before_and_after_the_answer(0, "246802", (failed, some.ARRIVED, failed), ("one", "two", "two"))
    machine.what_is_stored_is_what_the_model_has()
    [life] = machine.model.lives.values()
    assert life.delivery.state is DeliveryState.FAILED


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("is_rotated", [False, True])
def test_of_two_workers_with_one_send_the_later_to_arm_settles_it(
    world: World, is_late: bool, is_used: bool, is_rotated: bool
) -> None:
    """Every way in which the machine may take a slow worker for dead, once for sure."""
    LifeCycle.world = world
    machine = LifeCycle()
    machine.start("login", Start(some.NUMBERS[0], Fallback.SMS, 6))
    machine.a_worker_takes_sends("first", 1, is_claiming=False)
    failed = Outcome(DeliveryState.FAILED, None, "not_delivered")
    machine.a_slow_worker_is_taken_for_dead(
        0, ("246802", "313579"), (failed, some.ARRIVED), ("one", "two"), is_late, is_used, is_rotated
    )
    machine.what_is_stored_is_what_the_model_has()
    assert world.pending() == machine.model.backlog == 0
