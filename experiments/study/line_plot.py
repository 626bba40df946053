"""A figure of a study over a number: a line for each name and metric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from experiments.study.axes import Points, label_numbers, put_legend, within_scale
from experiments.study.spec import Baseline, Study
from gpt2_jax.evaluation.point_plot import MARKERS, bars
from gpt2_jax.evaluation.statistics import Summary
from gpt2_jax.evaluation.svg import COLORS, INK, STYLES

Line = Sequence[tuple[float, Summary]]  # by x

_NO_BAR = [[np.nan], [np.nan]]


def draw_lines(
    study: Study,
    points: Points,
    baselines: Sequence[Baseline],
    metrics: Sequence[str],
) -> Figure:
    """Draw a line per name and metric over `x`, and one across for a baseline."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(setting.name for setting in study.settings))
    series = [(name, metric) for name in names for metric in metrics]
    for number, (name, metric) in enumerate(series):
        label = study.metrics[metric]
        if len(names) > 1:
            label = name if len(metrics) == 1 else f"{name}: {label}"
        # Side by side, so that no bar hides another.
        inches = (number - (len(series) - 1) / 2) * 3 / 72
        aside = ScaledTranslation(inches, 0, figure.dpi_scale_trans)
        if line := _line(study, points, name, metric):
            _draw_line(axes, line, number, aside, label)
    if len({baseline.places for baseline in baselines}) == 1:  # all on the same texts
        _draw_across(axes, within_scale(points, baselines, metrics), metrics)
    _scale_x(axes, study)
    axes.autoscale_view()
    axes.set_xlabel(study.x_label)
    label_numbers(axes, "y", study, metrics)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        put_legend(figure)
    return figure


def _line(study: Study, points: Points, name: str, metric: str) -> Line:
    found = (
        (setting.x or 0.0, summaries[metric])
        for setting, summaries in zip(study.settings, points, strict=True)
        if setting.name == name and summaries
    )
    return sorted(found, key=lambda point: point[0])


def _draw_line(
    axes: Axes, line: Line, number: int, aside: ScaledTranslation, label: str
) -> None:
    color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
    for x, summary in line:
        axes.plot(
            [x] * len(summary.values),
            summary.values,
            marker,
            color=color,
            alpha=0.25,
            markeredgewidth=0,
            transform=axes.transData + aside,
        )
    axes.errorbar(
        [x for x, _ in line],
        [summary.mean for _, summary in line],
        yerr=np.concatenate([bars(s) or _NO_BAR for _, s in line], axis=1),
        fmt=STYLES[number % len(STYLES)],
        marker=marker,
        color=color,
        capsize=3,
        label=label,
        transform=axes.transData + aside,
    )
    # What is put aside does not scale the axes by itself.
    for x, summary in line:
        bounds = (summary.low, summary.high)
        ends = (*(end for end in bounds if end is not None), *summary.values)
        axes.update_datalim([(x, min(ends)), (x, max(ends))])


def _draw_across(
    axes: Axes, baselines: Sequence[Baseline], metrics: Sequence[str]
) -> None:
    for baseline, style in zip(baselines, (*STYLES[1:], (0, (1, 4))), strict=False):
        shown = next(metric for metric in metrics if metric in baseline.numbers)
        axes.axhline(
            baseline.numbers[shown].mean,
            color=INK,
            linewidth=1,
            linestyle=style,
            label=baseline.name,
        )


def _scale_x(axes: Axes, study: Study) -> None:
    if study.log_x:
        axes.set_xscale("log")
        ticks = sorted({s.x for s in study.settings if s.x})
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks], minor=False)
        axes.set_xticks([], minor=True)
    elif all(float(s.x or 0).is_integer() for s in study.settings):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # no half a block
