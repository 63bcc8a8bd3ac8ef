"""Every measure that needs no tool of others runs as it does at full size, with real parts, only small.

No time is asserted: a machine may be as slow as it likes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from bench import parts, serving
from bench.load import CONNECTIONS
from bench.measure import Options, alternate
from bench.results import tables
from bench.suite import NAMES, measure, with_needs

_SMALL = Options(
    rounds=1,
    seconds=1,
    codes=800,
    in_flight=(10,),
    gateway_seconds=0.1,
    callers=4,
    hanging=250,
    sizes=(100, 300),
    rate=50,
)


@pytest.mark.parametrize("name", ["cold", "deliver", "grow", "hang", "lifecycle"])
def test_a_measure_gives_a_figure_for_every_row(name: str, tmp_path: Path) -> None:
    told: list[str] = []

    measure([name], _SMALL, tmp_path, lambda _: None, told.append)

    figures = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))["figures"]
    assert figures
    assert all(len(figure["rounds"]) == 1 for figure in figures)
    # The system counts CPU in hundredths of a second, which some processes do not use here.
    assert all(figure["median"] > 0 for figure in figures if figure["panel"] != "cpu")
    assert (tmp_path / f"{name}.svg").stat().st_size > 0
    assert (tmp_path / "tables.md").read_text("utf-8") == tables(tmp_path, NAMES) == told[0]


def test_redis_calls_are_counted_one_by_one() -> None:
    (cpu,) = [each for each in with_needs(["cpu"]) if each.name == "cpu"]

    (round_,) = alternate([cpu], _SMALL, lambda _: None)

    # That it is exactly one is a figure of the measure; that every request calls at all shows that it is counted.
    assert round_["cpu"]["verify calls_each"] >= 1
    assert round_["cpu"]["start calls_each"] >= 1


@pytest.mark.parametrize(
    ("counted", "holds"), [(999, False), (1000, True), (1000 + 2 * CONNECTIONS, True), (1001 + 2 * CONNECTIONS, False)]
)
def test_what_redis_counted_is_what_was_asked_give_or_take_what_was_not_waited_for(counted: int, holds: bool) -> None:
    assert serving.is_about(counted, expected=1000, runs=2) is holds


def test_sizes_are_called_there_and_back_so_that_none_has_the_better_place(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def call(made: parts.Settings, options: Options, ids: Iterable[str]) -> list[float]:
        called.append(made.url)
        return [float(len(called))]

    monkeypatch.setattr("bench.measures.grow.call_verify", call)
    (grow,) = with_needs(["grow"])

    (round_,) = alternate([grow], _SMALL, lambda _: None)

    assert len(set(called)) == 2
    assert called == called[::-1]
    assert (round_["grow"]["100 p99_seconds"], round_["grow"]["300 p99_seconds"]) == (4, 3)
    assert (round_["grow"]["100 p50_seconds"], round_["grow"]["300 p50_seconds"]) == (1, 2)


def test_valkey_allocates_with_jemalloc_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in {None, parts.JEMALLOC}:
        monkeypatch.setattr(parts, "JEMALLOC", library)
        with parts.valkey() as server:
            mapped = Path(f"/proc/{server.process.pid}/maps").read_text("utf-8")
        assert ("jemalloc" in mapped) == (library is not None)
