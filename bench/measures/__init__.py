"""What is measured: a module for each."""

from __future__ import annotations

from bench.measure import Measure
from bench.measures import cold, cpu, deliver, floor, grow, hang, lifecycle, start, verify

ALL: tuple[Measure, ...] = tuple(
    module.MEASURE for module in (floor, verify, start, deliver, lifecycle, hang, grow, cpu, cold)
)
