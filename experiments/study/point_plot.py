"""A figure of a study's settings: a line for each, from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.study.axes import Points, label_numbers, put_legend, within_scale
from experiments.study.spec import Baseline, Study
from gpt2_jax.evaluation import point_plot
from gpt2_jax.evaluation.point_plot import Line


def draw_points(
    study: Study,
    points: Points,
    baselines: Sequence[Baseline],
    metrics: Sequence[str],
) -> Figure:
    """Draw a line per setting, from top to bottom, hollow ones for its baselines."""
    lines = _lines(study, points, within_scale(points, baselines, metrics))
    labels = {metric: study.metrics[metric] for metric in metrics}
    figure = point_plot.draw_points(lines, labels)
    label_numbers(figure.axes[0], "x", study, metrics)
    if len(metrics) > 1:
        put_legend(figure)
    return figure


def _lines(study: Study, points: Points, shown: Sequence[Baseline]) -> list[Line]:
    lines = []
    for place, (key, setting) in enumerate(
        zip(study.keys(), study.settings, strict=True)
    ):
        if points[place]:
            lines.append(Line(f"{key}  {setting.name}", points[place], "full"))
        lines += [
            Line(b.name, b.numbers, "none") for b in shown if b.places[-1] == place
        ]
    return lines
