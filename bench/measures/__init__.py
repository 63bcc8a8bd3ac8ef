"""What is measured: a module for each."""

from __future__ import annotations

from bench.measure import Measure
from bench.measures import floor, start, verify

ALL: tuple[Measure, ...] = (
    floor.MEASURE,
    verify.MEASURE,
    start.MEASURE,
)
