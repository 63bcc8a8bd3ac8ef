"""A plot of a result: a point for each round, a bar for the median, a line for the target."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bench.results import Figure, Result, shown

_BAR, _POINT, _TARGET, _MISSED = "#9db8d2", "#1f4e79", "#2e7d32", "#c62828"
_BAR_HEIGHT_INCHES = 0.36
_WIDTH_INCHES = 9.0


def plot(result: Result, path: Path) -> None:
    """Write an SVG. The same numbers make the same file."""
    panels = [list(figures) for _, figures in groupby(result.figures, key=lambda figure: (figure.panel, figure.unit))]
    heights = [0.7 + len(panel) * _BAR_HEIGHT_INCHES for panel in panels]
    with mpl.rc_context({"svg.hashsalt": "otpservice", "svg.fonttype": "none", "font.size": 9}):
        canvas = Canvas(figsize=(_WIDTH_INCHES, sum(heights) + 0.9), layout="constrained")
        canvas.suptitle(f"{result.name}\n", fontsize=12, fontweight="bold")
        canvas.text(0.5, 1 - 0.32 / (sum(heights) + 0.9), _wrapped(result.title), ha="center", va="top", fontsize=8)
        grid = canvas.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
        for axes, panel in zip(grid[:, 0], panels, strict=True):
            _draw(axes, panel)
        canvas.savefig(path, format="svg", metadata={"Date": None})


def _draw(axes: Axes, figures: Sequence[Figure]) -> None:
    for place, figure in enumerate(figures):
        axes.barh(place, figure.median, height=0.5, color=_BAR, zorder=1)
        axes.plot(figure.rounds, [place] * len(figure.rounds), "o", color=_POINT, markersize=3.5, zorder=3)
        axes.annotate(
            shown(figure.median),
            (max(figure.median, *figure.rounds), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )
        if figure.target is not None:
            color = _TARGET if figure.is_reached else _MISSED
            axes.plot([figure.target.value] * 2, [place - 0.36, place + 0.36], color=color, linewidth=2, zorder=2)
            axes.annotate(
                f"{figure.target.relation} {shown(figure.target.value)}",
                (figure.target.value, place - 0.36),
                xytext=(0, 1),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7,
                color=color,
            )
    largest = max(max(*figure.rounds, figure.median, _target(figure)) for figure in figures)
    axes.set_xlim(0, largest * 1.18 or 1)
    axes.set_ylim(len(figures) - 0.45, -0.75)
    axes.set_yticks(range(len(figures)), [figure.name for figure in figures])
    axes.set_xlabel(figures[0].unit)
    axes.spines[["top", "right"]].set_visible(False)


def _target(figure: Figure) -> float:
    return figure.target.value if figure.target is not None else 0.0


def _wrapped(title: str) -> str:
    half = title.find(" ", len(title) // 2)
    return title if len(title) < 120 or half < 0 else f"{title[:half]}\n{title[half + 1 :]}"
