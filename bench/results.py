"""What came out: figures of every round, their medians, whether targets were reached; as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import Measure, Options, Relation, Round, Sample, Target


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: what it was in each round."""

    name: str
    unit: str
    panel: str
    rounds: tuple[float, ...]
    target: Target | None

    @property
    def median(self) -> float:
        return median(self.rounds)

    @property
    def is_reached(self) -> bool | None:
        """Whether the median is what it should be; None where nothing is asked of it."""
        return None if self.target is None else self.target.is_reached(self.median)

    @property
    def verdict(self) -> tuple[str, str]:
        """The target and whether it was reached, in words; empty where there is none."""
        if self.target is None:
            return "", ""
        return f"{self.target.relation} {shown(self.target.value)}", "yes" if self.is_reached else "**no**"


@dataclass(frozen=True, slots=True)
class Result:
    """All of one measure. ``samples`` are the raw numbers of each round, those of the measures that it needs too."""

    name: str
    title: str
    figures: tuple[Figure, ...]
    samples: tuple[Round, ...]
    machine: Mapping[str, str]
    options: Mapping[str, Any]
    finished: str

    def to_json(self) -> str:
        """What is kept beside the table; medians and verdicts stand there for whoever reads it."""
        figures = [
            asdict(figure) | {"median": figure.median, "is_reached": figure.is_reached} for figure in self.figures
        ]
        return json.dumps(asdict(self) | {"figures": figures}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Result:
        """What ``to_json`` wrote."""
        read = json.loads(text)
        read["figures"] = tuple(_figure(figure) for figure in read["figures"])
        read["samples"] = tuple(read["samples"])
        return cls(**read)

    def table(self) -> str:
        """In Markdown: a title, a row for each figure, and what it was measured on."""
        lines = [
            f"**{self.name}**: {self.title}\n",
            "| | unit | median | lowest | highest | target | reached |",
            "|---|---|---|---|---|---|---|",
        ]
        for figure in self.figures:
            numbers = map(shown, (figure.median, min(figure.rounds), max(figure.rounds)))
            lines.append(_line(figure.name, figure.unit, *numbers, *figure.verdict))
        lines.append(f"\n{self.circumstances}")
        return "\n".join(lines) + "\n"

    @property
    def circumstances(self) -> str:
        """How it was measured, on what and when."""
        rounds, seconds = len(self.samples), self.options["seconds"]
        return f"{rounds} rounds of {seconds} s; {', '.join(self.machine.values())}; {self.finished}"


def result(measure: Measure, rounds: Sequence[Round], options: Options, machine: Mapping[str, str]) -> Result:
    """Compute a measure's rows, each round by itself."""
    figures = tuple(
        Figure(row.name, row.unit, row.panel, tuple(row.figure(round_) for round_ in rounds), row.target)
        for row in measure.rows(options)
    )
    shared: list[Mapping[str, Sample]] = [
        {name: round_[name] for name in (measure.name, *measure.needs)} for round_ in rounds
    ]
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    return Result(measure.name, measure.title, figures, tuple(shared), machine, asdict(options), finished)


def tables(folder: Path, order: Sequence[str]) -> str:
    """The tables of all results in a folder, those that an earlier run left too."""
    found = [folder / f"{name}.json" for name in order]
    return "\n".join(Result.from_json(path.read_text("utf-8")).table() for path in found if path.exists())


def summary(folder: Path, order: Sequence[str]) -> str:
    """One table of all results in a folder: what each measure is about first, and whatever has a target."""
    lines = ["| | | unit | median | target | reached |", "|---|---|---|---|---|---|"]
    circumstances: dict[str, None] = {}
    for path in (folder / f"{name}.json" for name in order):
        if path.exists():
            read = Result.from_json(path.read_text("utf-8"))
            circumstances[read.circumstances.rpartition("; ")[0]] = None
            for place, figure in enumerate(read.figures):
                if place == 0 or figure.target is not None:
                    name = read.name if place == 0 else ""
                    lines.append(_line(name, figure.name, figure.unit, shown(figure.median), *figure.verdict))
    return "\n".join([*lines, "", *circumstances]) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def this_machine(valkey: str) -> dict[str, str]:
    """What the numbers depend on."""
    return {
        "cores": f"{os.cpu_count()} cores",
        "cpu": _cpu_model(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"Python {platform.python_version()}",
        "valkey": valkey,
        "granian": f"granian {version('granian')}",
    }


def shown(number: float) -> str:
    """A number as tables and plots have it: three digits that count, thousands apart."""
    if abs(number) >= 1000 or number == int(number):
        return f"{number:,.0f}"
    digits = 3 if abs(number) < 10 else 2 if abs(number) < 100 else 1
    return f"{number:,.{digits}f}"


def _figure(read: Mapping[str, Any]) -> Figure:
    kept = {name: read[name] for name in ("name", "unit", "panel")}
    target = read["target"]
    if target is not None:
        target = Target(Relation(target["relation"]), target["value"])
    return Figure(**kept, rounds=tuple(read["rounds"]), target=target)


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
