"""The README's figures are those that were measured last, and nothing else."""

from __future__ import annotations

from pathlib import Path

from bench.results import Result, summary, tables
from bench.suite import NAMES

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"


def test_the_readme_shows_the_results_as_they_are() -> None:
    _, _, rest = (ROOT / "README.md").read_text("utf-8").partition("<!-- bench: summary -->\n")
    assert rest.partition("<!-- bench: end -->")[0].strip() == summary(RESULTS, NAMES).strip()


def test_every_measure_has_a_result_that_its_table_and_its_plot_show() -> None:
    assert (RESULTS / "tables.md").read_text("utf-8") == tables(RESULTS, NAMES)
    for name in NAMES:
        measured = Result.from_json((RESULTS / f"{name}.json").read_text("utf-8"))
        assert len(measured.samples) >= 5
        drawn = (RESULTS / f"{name}.svg").read_text("utf-8")
        assert all(f">{figure.name}</text>" in drawn for figure in measured.figures)
