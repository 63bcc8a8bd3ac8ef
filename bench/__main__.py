"""``python -m bench``: measure, and say so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bench.errors import BenchError
from bench.measure import Options
from bench.suite import NAMES, measure

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


_COUNT = click.IntRange(1)
_RESULTS = Path(__file__).parent / "results"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("--rounds", default=_DEFAULTS.rounds, type=_COUNT, show_default=True, help="How often all take turns.")
@click.option("--seconds", default=_DEFAULTS.seconds, type=_COUNT, show_default=True, help="Of load in each round.")
@click.option("--results", "folder", default=_RESULTS, type=click.Path(path_type=Path), help="[default: bench/results]")
@click.option("--pending", default=_DEFAULTS.pending, type=_COUNT, show_default=True, help="verify: verifications.")
@click.option("--codes", default=_DEFAULTS.codes, type=_COUNT, show_default=True, help="deliver: codes sent at once.")
@click.option("--in-flight", default=_DEFAULTS.in_flight, type=_Counts(), help="deliver: limits. [default: 1000,2000]")
@click.option("--callers", default=_DEFAULTS.callers, type=_COUNT, show_default=True, help="lifecycle: connections.")
@click.option("--hanging", default=_DEFAULTS.hanging, type=_COUNT, show_default=True, help="hang: starts that wait.")
@click.option("--sizes", default=_DEFAULTS.sizes, type=_Counts(), help="grow: pending. [default: 10000,100000,1000000]")
@click.option("--rate", default=_DEFAULTS.rate, type=_COUNT, show_default=True, help="hang, grow: verifies a second.")
def main(names: Sequence[str], folder: Path, **options: int) -> None:
    """Measure NAMES and what they are compared with, all in alternating rounds; without names, everything.

    Prints a table for each measure; writes the same, the raw numbers and a plot to a folder.
    """
    made = Options(**options)  # type: ignore[arg-type]  # some are tuples, as click has read them
    try:
        measure(names or NAMES, made, folder, lambda said: click.echo(said, err=True), click.echo)
    except BenchError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
