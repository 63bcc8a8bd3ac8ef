"""What a measure is: something that gives numbers in every round, and rows of a table that are made of them.

Every row is computed round by round, ratios too, and its median is what counts: what slows the machine down for a
while slows both sides of a ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum

WARM_UP_SECONDS = 1  # of the same load, before what is counted

Sample = Mapping[str, float]  # what one measure saw in one round
Round = Mapping[str, Sample]  # by the measures' names


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured. ``seconds`` are of load in each round, for each thing that is compared."""

    rounds: int = 5
    seconds: int = 5
    pending: int = 10_000  # verifications that verify is called for
    codes: int = 20_000  # that one worker delivers to the gateway that answers at once
    in_flight: tuple[int, ...] = (1000, 2000)  # at the slow gateway
    gateway_seconds: float = 1.0  # that the slow gateway takes
    callers: int = 128  # of whole verifications at once
    hanging: int = 2000  # starts that wait for a gateway that never answers
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)  # pending verifications, to see what grows with them
    rate: int = 300  # verifies a second, where they come evenly


class Relation(StrEnum):
    """How a figure has to be to its target."""

    AT_LEAST = ">="
    AT_MOST = "<="
    EXACTLY = "="


@dataclass(frozen=True, slots=True)
class Target:
    """What the median of a row should be."""

    relation: Relation
    value: float

    def is_reached(self, figure: float) -> bool:
        """Whether it is, without any tolerance."""
        match self.relation:
            case Relation.AT_LEAST:
                return figure >= self.value
            case Relation.AT_MOST:
                return figure <= self.value
            case Relation.EXACTLY:
                return figure == self.value


def at_least(value: float) -> Target:
    return Target(Relation.AT_LEAST, value)


def at_most(value: float) -> Target:
    return Target(Relation.AT_MOST, value)


def exactly(value: float) -> Target:
    return Target(Relation.EXACTLY, value)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a measure's table. Those with the same ``panel`` share a plot, and its unit."""

    name: str
    unit: str
    panel: str
    figure: Callable[[Round], float]
    target: Target | None = None


Run = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Measure:
    """``prepare`` makes what all rounds share and gives what is run once in each.

    ``needs`` are measures that its rows are computed from, too. One that is ``apart`` keeps so much that the others
    are not run beside it: its rounds follow each other, and what it compares takes turns inside of them.
    """

    name: str
    title: str
    rows: Callable[[Options], Sequence[Row]]
    prepare: Callable[[Options], AbstractContextManager[Run]]
    needs: tuple[str, ...] = ()
    apart: bool = False


def afresh(run: Callable[[Options], Sample]) -> Callable[[Options], AbstractContextManager[Run]]:
    """For measures whose rounds share nothing."""

    @contextmanager
    def prepare(options: Options) -> Iterator[Run]:
        yield lambda: run(options)

    return prepare


def of(measure: str, number: str, times: float = 1.0) -> Callable[[Round], float]:
    """A number that a measure saw, in another unit."""
    return lambda round_: round_[measure][number] * times


def ratio(numerator: tuple[str, str], denominator: tuple[str, str]) -> Callable[[Round], float]:
    """A number that a measure saw to one that a measure saw in the same round."""
    return lambda round_: round_[numerator[0]][numerator[1]] / round_[denominator[0]][denominator[1]]


def alternate(measures: Sequence[Measure], options: Options, say: Callable[[str], None]) -> list[Round]:
    """Run all measures once, then all again, and so on. Returns what each saw in each round."""
    rounds: list[Round] = []
    with ExitStack() as stack:
        runs: dict[str, Run] = {}
        for measure in measures:
            runs[measure.name] = stack.enter_context(measure.prepare(options))
        for number in range(1, options.rounds + 1):
            seen: dict[str, Sample] = {}
            for name, run in runs.items():
                say(f"round {number} of {options.rounds}: {name}")
                seen[name] = run()
            rounds.append(seen)
    return rounds


def percentile(numbers: Sequence[float], percent: int) -> float:
    """The least number that so many percent are not above."""
    ordered = sorted(numbers)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
