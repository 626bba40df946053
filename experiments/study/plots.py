"""The figures of a study: points or lines with their 95% intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

from experiments.study.axes import Points
from experiments.study.line_plot import draw_lines
from experiments.study.point_plot import draw_points
from experiments.study.spec import Baseline, Study
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
    kind = draw_lines if study.x_label else draw_points
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
