"""Figures are medians of rounds, ratios are taken in one round, and a target that is missed is told so, everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.measure import (
    Measure,
    Options,
    Row,
    Run,
    Sample,
    Target,
    alternate,
    at_least,
    at_most,
    exactly,
    of,
    percentile,
    ratio,
)
from bench.plots import plot
from bench.results import Result, result, shown, summary, tables
from bench.suite import NAMES, groups, keep, with_needs

_OPTIONS = Options(rounds=3, seconds=1)
_MACHINE = {"cores": "2 cores", "cpu": "a model"}


def _measure(
    name: str, seen: Sequence[float], order: list[str], rows: Sequence[Row] = (), needs: tuple[str, ...] = ()
) -> Measure:
    """One that sees these numbers, round after round."""

    @contextmanager
    def prepare(_: Options) -> Iterator[Run]:
        numbers = iter(seen)

        def run() -> Sample:
            order.append(name)
            return {"a_second": next(numbers)}

        order.append(f"{name} is made")
        yield run
        order.append(f"{name} is gone")

    return Measure(name, f"the {name}", lambda _: rows, prepare, needs)


def _measured(target: Target | None = None) -> Result:
    rows = (
        Row("verify", "requests/s", "rate", of("verify", "a_second")),
        Row("verify / floor", "ratio", "ratio", ratio(("verify", "a_second"), ("floor", "a_second")), target),
    )
    order: list[str] = []
    verify = _measure("verify", [2000.0, 1000.0, 3500.0], order, rows, needs=("floor",))
    rounds = alternate([_measure("floor", [8000.0, 2000.0, 7000.0], order), verify], _OPTIONS, order.append)
    return result(verify, rounds, _OPTIONS, _MACHINE)


def test_measures_take_turns() -> None:
    order: list[str] = []

    alternate([_measure("a", [1, 2], order), _measure("b", [1, 2], order)], Options(rounds=2), lambda _: None)

    assert order == ["a is made", "b is made", "a", "b", "a", "b", "b is gone", "a is gone"]


def test_a_ratio_is_taken_in_each_round() -> None:
    """That of the two medians would be 2/7."""
    figure = _measured().figures[1]

    assert figure.rounds == (0.25, 0.5, 0.5)
    assert figure.median == 0.5


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (at_least(0.5), True),
        (at_least(0.501), False),
        (at_most(0.5), True),
        (at_most(0.499), False),
        (exactly(0.5), True),
        (exactly(1), False),
        (None, None),
    ],
)
def test_a_target_is_reached_or_missed_and_nothing_between(target: Target | None, reached: bool | None) -> None:
    measured = _measured(target)
    row = next(line for line in measured.table().splitlines() if line.startswith("| verify / floor"))

    assert measured.figures[1].is_reached is reached
    assert json.loads(measured.to_json())["figures"][1]["is_reached"] is reached
    assert row.endswith({True: "| yes |", False: "| **no** |", None: "|  |"}[reached])


def test_table_json_and_plot_say_the_same(tmp_path: Path) -> None:
    measured, told = _measured(at_least(0.45)), list[str]()
    keep(measured, tmp_path, told.append)
    written = (tmp_path / "verify.json").read_text("utf-8")
    drawn = (tmp_path / "verify.svg").read_text("utf-8")

    assert Result.from_json(written).to_json() == written == measured.to_json()
    assert told == [measured.table()]
    assert tables(tmp_path, NAMES) == measured.table()
    for figure, kept in zip(measured.figures, json.loads(written)["figures"], strict=True):
        assert kept["median"] == figure.median
        assert tuple(kept["rounds"]) == figure.rounds
        for text in (figure.name, figure.unit, shown(figure.median)):
            assert f">{text}</text>" in drawn
            assert f"| {text} |" in told[0]
    assert ">&gt;= 0.450</text>" in drawn
    assert "| >= 0.450 | yes |" in told[0]


@pytest.mark.parametrize(
    ("target", "verdict"), [(at_least(0.45), ">= 0.450 | yes"), (at_least(0.6), ">= 0.600 | **no**")]
)
def test_the_summary_has_what_has_a_target_and_what_a_measure_is_about(
    tmp_path: Path, target: Target, verdict: str
) -> None:
    keep(_measured(target), tmp_path, lambda _: None)

    assert summary(tmp_path, NAMES).splitlines() == [
        "| | | unit | median | target | reached |",
        "|---|---|---|---|---|---|",
        "| verify | verify | requests/s | 2,000 |  |  |",
        f"|  | verify / floor | ratio | 0.500 | {verdict} |",
        "",
        "3 rounds of 1 s; 2 cores, a model",
    ]


def test_raw_numbers_of_every_round_are_kept_with_the_machine() -> None:
    kept = json.loads(_measured().to_json())

    assert [each["floor"]["a_second"] for each in kept["samples"]] == [8000.0, 2000.0, 7000.0]
    assert kept["machine"] == _MACHINE
    assert kept["options"]["rounds"] == 3


def test_the_same_numbers_make_the_same_plot(tmp_path: Path) -> None:
    measured = _measured(at_least(0.45))
    for name in ("one.svg", "other.svg"):
        plot(measured, tmp_path / name)

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


@pytest.mark.parametrize(
    ("number", "text"),
    [(10842.51, "10,843"), (999.96, "1,000.0"), (82.567, "82.57"), (0.4496, "0.450"), (2.0, "2"), (0.0, "0")],
)
def test_numbers_are_shown_with_what_counts(number: float, text: str) -> None:
    assert shown(number) == text


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_percentiles_are_numbers_that_were_seen(percent: int, expected: int) -> None:
    assert percentile(range(100, 0, -1), percent) == expected


@pytest.mark.parametrize(
    ("asked", "run"),
    [
        (["verify"], ["floor", "verify"]),
        (["start"], ["floor", "start"]),
        (["cold"], ["cold"]),
        (["cpu"], ["floor", "verify", "start", "cpu"]),
    ],
)
def test_what_is_compared_with_something_is_measured_with_it(asked: list[str], run: list[str]) -> None:
    assert [measure.name for measure in with_needs(asked)] == run


def test_everything_takes_turns_but_what_fills_the_memory() -> None:
    together, *apart = groups(with_needs(NAMES))

    assert [measure.name for measure in together] == [name for name in NAMES if name != "grow"]
    assert [[measure.name for measure in group] for group in apart] == [["grow"]]


def test_every_target_is_in_a_table() -> None:
    asked: Mapping[str, list[str]] = {
        measure.name: [
            f"{row.target.relation} {shown(row.target.value)}" for row in measure.rows(Options()) if row.target
        ]
        for measure in with_needs(NAMES)
    }

    assert asked == {
        "floor": ["<= 25", "<= 25"],
        "verify": [">= 0.450", "<= 25"],
        "start": [">= 0.400", "<= 25"],
        "deliver": [">= 2,500", ">= 900", ">= 1,800", "<= 150", "<= 150"],
        "lifecycle": [">= 1,500"],
        "hang": ["<= 2"],
        "grow": ["<= 1.200", "<= 512"],
        "cpu": ["= 1", "= 1"],
        "cold": ["<= 2"],
    }
