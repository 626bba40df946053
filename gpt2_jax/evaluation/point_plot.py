"""A figure of numbers over runs: a line for each setting, from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from gpt2_jax.evaluation.statistics import Summary
from gpt2_jax.evaluation.svg import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "os^Dvp"


class Line(NamedTuple):
    """A line of the figure."""

    name: str
    numbers: Mapping[str, Summary]
    fill: Literal["full", "none"] = "full"


def draw_points(lines: Sequence[Line], labels: Mapping[str, str]) -> Figure:
    """Draw each run of each line, faint, and their mean with its 95% interval.

    Args:
        labels: what is drawn of each line, and how it is called in the legend.
    """
    from matplotlib.figure import Figure

    height = max(0.32, 0.14 * (len(labels) + 1))  # inches of a line
    size = (8, 0.9 + height * len(lines) + 0.12 * len(labels) * (len(labels) > 1))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    for series, (metric, label) in enumerate(labels.items()):
        shift = (series - (len(labels) - 1) / 2) / (len(labels) + 1)
        shown = label
        for place, line in enumerate(lines):
            if metric in line.numbers:
                _draw_point(axes, line, metric, place + shift, series, shown)
                shown = None  # once in the legend
    axes.set_yticks(range(len(lines)), [line.name for line in lines], parse_math=False)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    return figure


def _draw_point(
    axes: Axes, line: Line, metric: str, y: float, series: int, label: str | None
) -> None:
    summary, color = line.numbers[metric], COLORS[series % len(COLORS)]
    marker = MARKERS[series % len(MARKERS)]
    axes.plot(
        summary.values,
        [y] * len(summary.values),
        marker,
        color=color,
        alpha=0.3,
        markeredgewidth=0,
    )
    axes.errorbar(
        summary.mean,
        y,
        xerr=bars(summary),
        fmt=marker,
        color=color,
        fillstyle=line.fill,
        markersize=6,
        capsize=3,
        label=label,
    )


def bars(summary: Summary) -> list[list[float]] | None:
    """Return how far the interval reaches from the mean; None: there is none."""
    if summary.low is None or summary.high is None:
        return None
    return [[summary.mean - summary.low], [summary.high - summary.mean]]
