"""The figures of a study: points or lines with their 95% intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from experiments.study.axes import Points, label_numbers, put_legend, within_scale
from experiments.study.line_plot import draw_lines
from experiments.study.spec import Baseline, Study
from gpt2_jax.evaluation import point_plot
from gpt2_jax.evaluation.point_plot import Line
from gpt2_jax.evaluation.svg import STYLE, to_svg

_CAPTION = (
    "Bars: 95% interval of the mean over seeds; faint: each seed; "
    "hollow, or across: baselines."
)


class Drawn(NamedTuple):
    svg: str
    caption: str


def draw(
    study: Study, points: Points, baselines: Sequence[Baseline], out: Path
) -> list[Drawn]:
    """Write plot.svg, or plot-METRIC.svg; return each for a page, with a caption."""
    kind = draw_lines if study.x_label else _draw_points
    drawn = []
    if not any(points):
        return drawn
    for metrics in study.plots:
        name = "plot" if len(study.plots) == 1 else f"plot-{metrics[0]}"
        with matplotlib.rc_context(STYLE):
            figure = kind(study, points, baselines, metrics)
            figure.savefig(
                out / f"{name}.svg", facecolor="white", metadata={"Date": None}
            )
            drawn.append(Drawn(to_svg(figure, name), _CAPTION))
    return drawn


def _draw_points(
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
