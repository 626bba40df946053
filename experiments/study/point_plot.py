"""A figure of a study's settings: a line for each, from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.study.axes import (
    MARKERS,
    Points,
    label_numbers,
    put_legend,
    within_scale,
)
from experiments.study.spec import Baseline, Study, Summary
from gpt2_jax.evaluation.svg import COLORS


class _Line(NamedTuple):
    name: str
    numbers: Mapping[str, Summary]
    fill: Literal["full", "none"]


def draw_points(
    study: Study,
    points: Points,
    baselines: Sequence[Baseline],
    metrics: Sequence[str],
) -> Figure:
    """Draw a line per setting, from top to bottom, hollow ones for its baselines."""
    lines = _lines(study, points, within_scale(points, baselines, metrics))
    height = max(0.32, 0.14 * (len(metrics) + 1))  # inches of a line
    size = (8, 0.9 + height * len(lines) + 0.12 * len(metrics) * (len(metrics) > 1))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    for series, metric in enumerate(metrics):
        shift = (series - (len(metrics) - 1) / 2) / (len(metrics) + 1)
        for place, line in enumerate(lines):
            if metric in line.numbers:
                label = study.metrics[metric] if place == 0 else None
                _draw_point(axes, line, metric, place + shift, series, label)
    axes.set_yticks(range(len(lines)), [line.name for line in lines], parse_math=False)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    label_numbers(axes, "x", study, metrics)
    if len(metrics) > 1:
        put_legend(figure)
    return figure


def _lines(study: Study, points: Points, shown: Sequence[Baseline]) -> list[_Line]:
    lines = []
    for place, (key, setting) in enumerate(
        zip(study.keys(), study.settings, strict=True)
    ):
        if points[place]:
            lines.append(_Line(f"{key}  {setting.name}", points[place], "full"))
        lines += [
            _Line(b.name, b.numbers, "none") for b in shown if b.places[-1] == place
        ]
    return lines


def _draw_point(
    axes: Axes, line: _Line, metric: str, y: float, series: int, label: str | None
) -> None:
    summary, color, marker = line.numbers[metric], COLORS[series], MARKERS[series]
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
        xerr=summary.half,
        fmt=marker,
        color=color,
        fillstyle=line.fill,
        markersize=6,
        capsize=3,
        label=label,
    )
