"""The figures of a study: points or lines with their 95% intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from gpt2_jax.evaluation.svg import COLORS, INK, STYLE, STYLES, to_svg

if TYPE_CHECKING:
    from experiments.study import Study
    from experiments.study_beside import Beside
    from experiments.study_results import Summary

Points = Sequence[Mapping[str, "Summary"]]  # of each setting; {}: no run
MARKERS = "os^Dvp"
_CAPTION = (
    "Bars: 95% interval of the mean over seeds (Student's t); faint: each seed; "
    "hollow, or across: baselines."
)


def draw(
    study: Study, points: Points, baselines: Sequence[Beside], out: Path
) -> list[tuple[str, str]]:
    """Write plot.svg, or plot-METRIC.svg; return each for a page, with a caption."""
    kind = _draw_lines if study.x_label else _draw_points
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
            drawn.append((to_svg(figure, name), _CAPTION))
    return drawn


def _draw_points(
    study: Study,
    points: Points,
    baselines: Sequence[Beside],
    metrics: Sequence[str],
) -> Figure:
    """Draw a line per setting, from top to bottom, hollow ones for its baselines."""
    shown = _within(points, baselines, metrics)
    rows: list[tuple[str, Mapping[str, Summary], str]] = []
    for place, (key, setting) in enumerate(
        zip(study.keys(), study.settings, strict=True)
    ):
        if points[place]:
            rows.append((f"{key}  {setting.name}", points[place], "full"))
        rows += [(b.name, b.numbers, "none") for b in shown if b.places[-1] == place]
    height = max(0.32, 0.14 * (len(metrics) + 1))  # inches of a row
    size = (8, 0.9 + height * len(rows) + 0.12 * len(metrics) * (len(metrics) > 1))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    for series, metric in enumerate(metrics):
        shift = (series - (len(metrics) - 1) / 2) / (len(metrics) + 1)
        for place, (_, summaries, fill) in enumerate(rows):
            if metric not in summaries:
                continue
            y, color = place + shift, COLORS[series]
            summary = summaries[metric]
            axes.plot(
                summary.values,
                [y] * len(summary.values),
                MARKERS[series],
                color=color,
                alpha=0.3,
                markeredgewidth=0,
            )
            axes.errorbar(
                summary.mean,
                y,
                xerr=summary.half,
                fmt=MARKERS[series],
                color=color,
                fillstyle=fill,
                markersize=6,
                capsize=3,
                label=study.metrics[metric] if place == 0 else None,
            )
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    _label(axes.set_xlabel, axes.set_xlim, axes.get_xlim(), study, metrics)
    if len(metrics) > 1:
        _legend(figure)
    return figure


def _draw_lines(
    study: Study,
    points: Points,
    baselines: Sequence[Beside],
    metrics: Sequence[str],
) -> Figure:
    """Draw a line per name and metric over `x`, and one across for a baseline."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(setting.name for setting in study.settings))
    series = [(name, metric) for name in names for metric in metrics]
    for number, (name, metric) in enumerate(series):
        found = sorted(
            (
                (setting.x or 0.0, summaries[metric])
                for setting, summaries in zip(study.settings, points, strict=True)
                if setting.name == name and summaries
            ),
            key=lambda point: point[0],
        )
        if not found:
            continue
        color = COLORS[number % len(COLORS)]
        marker = MARKERS[number % len(MARKERS)]
        # Side by side, so that no bar hides another.
        inches = (number - (len(series) - 1) / 2) * 3 / 72
        aside = ScaledTranslation(inches, 0, figure.dpi_scale_trans)
        for x, summary in found:
            axes.plot(
                [x] * len(summary.values),
                summary.values,
                marker,
                color=color,
                alpha=0.25,
                markeredgewidth=0,
                transform=axes.transData + aside,
            )
        label = study.metrics[metric]
        if len(names) > 1:
            label = name if len(metrics) == 1 else f"{name}: {label}"
        axes.errorbar(
            [x for x, _ in found],
            [summary.mean for _, summary in found],
            yerr=[math.nan if s.half is None else s.half for _, s in found],
            fmt=STYLES[number % len(STYLES)],
            marker=marker,
            color=color,
            capsize=3,
            label=label,
            transform=axes.transData + aside,
        )
        # What is put aside does not scale the axes by itself.
        for x, summary in found:
            half, values = summary.half or 0.0, summary.values
            low, high = (
                min(summary.mean - half, *values),
                max(summary.mean + half, *values),
            )
            axes.update_datalim([(x, low), (x, high)])
    if len({baseline.places for baseline in baselines}) == 1:  # all on the same texts
        shown = _within(points, baselines, metrics)
        for baseline, style in zip(shown, (*STYLES[1:], (0, (1, 4))), strict=False):
            axes.axhline(
                next(
                    baseline.numbers[m].mean for m in metrics if m in baseline.numbers
                ),
                color=INK,
                linewidth=1,
                linestyle=style,
                label=baseline.name,
            )
    if study.log_x:
        axes.set_xscale("log")
        ticks = sorted({s.x for s in study.settings if s.x})
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks], minor=False)
        axes.set_xticks([], minor=True)
    elif all(float(s.x or 0).is_integer() for s in study.settings):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # no half a block
    axes.autoscale_view()
    axes.set_xlabel(study.x_label)
    _label(axes.set_ylabel, axes.set_ylim, axes.get_ylim(), study, metrics)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        _legend(figure)
    return figure


def _within(
    points: Points, baselines: Sequence[Beside], metrics: Sequence[str]
) -> list[Beside]:
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


def _legend(figure: Figure) -> None:
    """Put the legend above the axes, where it hides no point."""
    labels = figure.axes[0].get_legend_handles_labels()[1]
    columns = 2 if max(map(len, labels)) <= 40 else 1
    figure.legend(loc="outside upper left", ncols=columns)


def _label(
    set_label: Callable[..., Any],
    set_limits: Callable[..., Any],
    limits: tuple[float, float],
    study: Study,
    metrics: Sequence[str],
) -> None:
    """Name an axis of numbers, or of several their unit; percents end at 100."""
    label = study.metrics[metrics[0]]
    unit = label[label.rfind("(") + 1 : -1] if label.endswith(")") else ""
    if all("accuracy" in study.metrics[metric] for metric in metrics):
        unit = f"accuracy ({unit})"
    set_label(label if len(metrics) == 1 else unit)
    if label.endswith("(%)"):
        set_limits(max(limits[0], 0.0), min(limits[1], 100.5))
