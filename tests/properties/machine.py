"""What the parts of the state machine have in common: the real world and the model, held against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from otpservice.store.outbox import Armed, Refused
from otpservice.verification.lifecycle import DeliveryState, Fallback, Outcome, Status, Verification
from tests.properties.model import Code, Life, Model
from tests.properties.world import Delivering, Task, World, told

_Thing = TypeVar("_Thing")

UNAVAILABLE = "StoreUnavailableError"


def agree(answer: Any, expected: Any) -> None:
    """The store says what the model does."""
    assert answer == expected, f"the store says {answer}, the model {expected}"


class Machine(RuleBasedStateMachine):
    """No rules yet. ``world`` is the real thing, emptied for each run."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.world.reset()
        self.model = Model(lambda: self.world.clock.now_us)
        self.codes: dict[str, list[str]] = {}
        self.accepted: Counter[str] = Counter()
        self.compared: Counter[str] = Counter()

    @property
    def has_lives(self) -> bool:
        """Whether anything was started."""
        return bool(self.model.lives)

    @property
    def has_tasks(self) -> bool:
        """Whether a worker has anything in hand."""
        return any(worker.tasks for worker in self.world.workers.values())

    def life(self, choice: int) -> Life:
        """One of all verifications: more often one that is there, and most often one whose code may be right."""
        lives = list(self.model.lives.values())
        present = [life for life in lives if self.model.now <= life.gone]
        pending = [life for life in present if life.status is Status.PENDING]
        armed = [life for life in pending if life.code is not None]
        return pick(armed * 8 + pending * 4 + present * 2 + lives[-2:], choice)

    def task(self, choice: int) -> tuple[Delivering, Task]:
        """A send that a worker has in hand."""
        workers = self.world.workers.values()
        return pick([(worker, task) for worker in workers for task in worker.tasks], choice)

    def code(self, life: Life, which: str) -> str:
        """A code to hand in: the right one where there is one, one that was, or one that never was."""
        if which == "right" and life.code is not None:
            return life.code.text
        if which == "old" and life.id in self.codes:
            return self.codes[life.id][0]
        return "0" * life.request.code_length

    def same(self, real: Callable[[], Any], by_model: Callable[[], Any]) -> Any:
        """Do both, hold one against the other, and return what was told."""
        answer = told(real)
        agree(answer, told(by_model))
        return answer

    def count(self, life: Life, answer: Any) -> None:
        """I1 and I2, by what callers were told."""
        is_accepted = isinstance(answer, Verification)
        self.accepted[life.id] += is_accepted
        self.compared[life.id] += is_accepted or answer[0] == "IncorrectCodeError"
        assert self.accepted[life.id] <= 1
        assert self.compared[life.id] <= life.policy.max_attempts

    def resend_now(self, life: Life, fallback: Fallback | None) -> None:
        """Ask for a new code, perhaps too soon."""
        self.same(
            lambda: self.world.verifications.resend(life.id, fallback, life.policy),
            lambda: self.model.resend(life.id, fallback, life.policy),
        )

    def resend_when_due(self, life: Life, fallback: Fallback | None) -> None:
        """Wait as long as one has to, and ask for a new code."""
        due = (life.last_send + life.policy.resend_after_ms) * 1000
        if due > self.world.clock.now_us:
            self.world.clock.move(due - self.world.clock.now_us)
        self.resend_now(life, fallback)

    def arm(self, worker: Delivering, task: Task, code: str) -> None:
        """Store the hash of a code, as a worker does before it sends."""
        entry = task.entry
        code = code[: entry.code_length]
        armed_by = Code(entry.send, code, self.model.eras[0])
        answer = self.same(
            lambda: self.without_digest(told(lambda: self.world.arm(worker, task, code)), task),
            lambda: self.model.arm(entry.id, entry.send, entry.deadline, code),
        )
        match answer:
            case Armed():
                task.code = armed_by
                self.codes.setdefault(entry.id, []).append(code)
            case Refused(reason):
                task.armed, task.code, task.refusal = None, None, reason

    def without_digest(self, answer: Any, task: Task) -> Any:
        """What an arming says, but for the digest, which the task keeps: the model has no digests."""
        if not isinstance(answer, Armed):
            return answer
        task.armed = answer
        return replace(answer, code_digest="")

    def settle(self, worker: Delivering, task: Task, outcome: Outcome, gateway: str) -> None:
        """Record the outcome, as a worker does: of a refused send a failure, or nothing."""
        recorded: Outcome | None = outcome
        by: str | None = gateway
        if task.code is None:
            recorded = Outcome(DeliveryState.FAILED, reason=task.refusal) if task.refusal else None
            by = None
        self.same(
            lambda: self.world.settle(worker, task, recorded, by),
            lambda: self.model.settle(task.entry.id, task.entry.send, recorded, by, task.code),
        )
        worker.tasks.remove(task)

    def report(self, life: Life, send: int, gateway: str, outcome: Outcome) -> None:
        """A gateway says what became of a send, of the right number."""
        number = life.request.number
        self.same(
            lambda: self.world.verifications.report(life.id, send, gateway, number, outcome),
            lambda: self.model.report(life.id, send, gateway, number, outcome),
        )

    def is_an_end_near(self) -> bool:
        """While Redis refuses writes, keys go by its own clock: one might go away."""
        return min(self.world.clock.ends().values(), default=0) < self.model.now + 60_000

    def snapshot(self) -> tuple[dict[str, Any], dict[str, int]]:
        """All that is stored, and until when."""
        return self.world.stored(), self.world.clock.ends()


def pick(things: list[_Thing], choice: int) -> _Thing:
    """One of them."""
    return things[choice % len(things)]
