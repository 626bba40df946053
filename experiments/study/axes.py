"""What the figures of a study share: their points, scale, axis of numbers, legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.study.spec import Baseline, Study, Summary

Points = Sequence[Mapping[str, Summary]]  # of each setting; {}: no run


def within_scale(
    points: Points, baselines: Sequence[Baseline], metrics: Sequence[str]
) -> list[Baseline]:
    """Return the baselines that leave the figure its scale; the table has the rest."""
    of_runs = [
        value
        for summaries in points
        for metric in metrics
        if metric in summaries
        for value in summaries[metric].values
    ]
    low, high = min(of_runs), max(of_runs)
    more = (high - low) / 4
    return [
        baseline
        for baseline in baselines
        if any(
            low - more <= baseline.numbers[metric].mean <= high + more
            for metric in metrics
            if metric in baseline.numbers
        )
    ]


def put_legend(figure: Figure) -> None:
    """Put the legend above the axes, where it hides no point."""
    labels = figure.axes[0].get_legend_handles_labels()[1]
    columns = 2 if max(map(len, labels)) <= 40 else 1
    figure.legend(loc="outside upper left", ncols=columns)


def label_numbers(
    axes: Axes, which: Literal["x", "y"], study: Study, metrics: Sequence[str]
) -> None:
    """Name the axis of numbers, or of several their unit; percents end at 100."""
    label = study.metrics[metrics[0]]
    unit = label[label.rfind("(") + 1 : -1] if label.endswith(")") else ""
    if all("accuracy" in study.metrics[metric] for metric in metrics):
        unit = f"accuracy ({unit})"
    axes.set(**{f"{which}label": label if len(metrics) == 1 else unit})
    if label.endswith("(%)"):
        low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
        axes.set(**{f"{which}lim": (max(low, 0.0), min(high, 100.5))})
