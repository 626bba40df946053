"""The figures of a run, through matplotlib (the extra `report`).

In the report they are SVG whose colours are those of the page; see `svg`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.evaluation.confusions import MAX_MATRIX
from gpt2_jax.evaluation.heat_map import draw_heat_map
from gpt2_jax.evaluation.history_plots import (
    History,
    draw_accuracy,
    draw_learning_rate,
    draw_loss,
)
from gpt2_jax.evaluation.svg import COLORS, INK, STYLE, STYLES, to_svg

_TITLES = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "confusion": "Confusion on the test part",
}

MAX_CURVES = 6  # of as many classes; more cannot be told apart


def draw_figures(
    history: History, results: dict[str, Any], curves: dict[str, Any]
) -> dict[str, str]:
    """Return the figures of the report as SVG, by name; none without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return {}
    drawn = {}
    with matplotlib.rc_context(STYLE):
        for name, draw in {
            "loss": lambda axes: draw_loss(axes, history, results),
            "accuracy": lambda axes: draw_accuracy(axes, history, results),
            "learning_rate": lambda axes: draw_learning_rate(
                axes, curves["learning_rate"]
            ),
            "roc": lambda axes: _draw_roc(axes, curves["roc"], results["test"]),
            "precision_recall": lambda axes: _draw_precision_recall(
                axes, curves["precision_recall"], results["test"]
            ),
            "reliability": lambda axes: _draw_reliability(axes, curves["reliability"]),
            "scores": lambda axes: _draw_scores(axes, curves["scores"]),
            "lengths": lambda axes: _draw_lengths(axes, curves["lengths"]),
        }.items():
            if name in curves or name in ("loss", "accuracy"):
                drawn[name] = to_svg(_figure(draw), name)
    return drawn


def write_pictures(
    workdir: Path, history: History, results: dict[str, Any]
) -> list[Path]:
    """Write loss, accuracy and confusion as PNG and as SVG; return their paths.

    Returns nothing when matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        return []
    paths = []
    classes = results["data"]["classes"]
    confusion = np.asarray(results["test"]["confusion"])
    with matplotlib.rc_context(STYLE):
        if len(classes) <= MAX_MATRIX:
            matrix = _figure(lambda axes: _draw_confusion(axes, confusion, classes))
        else:
            matrix = draw_heat_map(confusion, classes)
        drawn = {
            "loss": _figure(lambda axes: draw_loss(axes, history, results)),
            "accuracy": _figure(lambda axes: draw_accuracy(axes, history, results)),
            "confusion": matrix,
        }
        of = _short(f"{results['weights']} on {results['data']['name']}", 60)
        for name, figure in drawn.items():
            _add_title(figure, f"{_TITLES[name]}: {of}")
            for suffix in (".png", ".svg"):
                paths.append(workdir / f"{name}{suffix}")
                figure.savefig(paths[-1], dpi=120)
    return paths


def _add_title(figure: Any, title: str) -> None:
    """Put a title above a figure that stands alone; in the report the caption is it."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.35)
    if figure.get_layout_engine() is None:
        top = figure.subplotpars.top
        figure.subplots_adjust(top=top * height / (height + 0.35))
    figure.suptitle(title, fontsize=10).set_parse_math(False)


def _figure(draw: Any) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.9))
    axes = figure.subplots()
    draw(axes)
    # Fixed margins: to measure every label takes as long as all the rest.
    if figure.get_layout_engine() is None:
        top = 0.86 if axes.child_axes else 0.97
        figure.subplots_adjust(left=0.12, right=0.98, bottom=0.13, top=top)
    return figure


def _chosen(curves: dict[str, Any], test: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return the classes whose curves are drawn, and what they are of all.

    That is the positive class; without one, all, or the worst of too many.
    """
    if test.get("positive") in curves:
        return [test["positive"]], ""
    if len(curves) <= MAX_CURVES:
        return list(curves), ""
    there = [name for name in curves if test["per_class"][name]["n"]]
    worst = sorted(there, key=lambda name: test["per_class"][name]["f1"])
    return worst[:MAX_CURVES], f"lowest F1 of {len(curves)}"


def _draw_curves(
    axes: Any,
    curves: dict[str, Any],
    test: Mapping[str, Any],
    x: str,
    y: str,
    drawstyle: str,
    legend: str,
) -> None:
    names, title = _chosen(curves, test)
    for number, name in enumerate(names):
        axes.plot(
            curves[name][x],
            curves[name][y],
            STYLES[number % len(STYLES)],
            color=COLORS[number],
            drawstyle=drawstyle,
            label=_short(name),
        )
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    for text in axes.legend(loc=legend, title=title or None).get_texts():
        text.set_parse_math(False)


def _draw_roc(axes: Any, curves: dict[str, Any], test: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=1)
    _draw_curves(axes, curves, test, "fpr", "tpr", "default", "lower right")
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate (recall)")


def _draw_precision_recall(
    axes: Any, curves: dict[str, Any], test: Mapping[str, Any]
) -> None:
    _draw_curves(axes, curves, test, "recall", "precision", "steps-pre", "lower left")
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")


def _draw_reliability(axes: Any, bins: dict[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=1, label="perfect")
    sizes = 20 + 180 * np.sqrt(np.asarray(bins["n"]) / max(bins["n"]))
    axes.plot(bins["confidence"], bins["accuracy"], "-", color=COLORS[0])
    axes.scatter(bins["confidence"], bins["accuracy"], sizes, color=COLORS[0])
    low = min(0.5, *bins["confidence"])
    axes.set_xlim(low - 0.02, 1.03)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlabel("mean probability of the label, in each bin")
    axes.set_ylabel("share of right labels")


def _draw_lengths(axes: Any, lengths: dict[str, Any]) -> None:
    edges, counts = np.asarray(lengths["edges"]), np.asarray(lengths["n"])
    axes.bar(
        edges[:-1], counts, np.diff(edges), align="edge", color=COLORS[0], linewidth=0
    )
    axes.set_xlabel("length (tokens)")
    axes.set_ylabel("texts")


def _draw_confusion(axes: Any, matrix: np.ndarray, classes: Sequence[str]) -> None:
    names = [_short(name) for name in classes]
    axes.grid(False)
    axes.figure.set_layout_engine("constrained")  # names may be long
    axes.imshow(matrix, cmap="Blues")
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if count > matrix.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color)
    # A class may be named $x$; that is no formula.
    axes.set_xticks(range(len(names)), names, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _draw_scores(axes: Any, scores: dict[str, Any]) -> None:
    edges = np.asarray(scores["edges"])
    for number, (name, counts) in enumerate(scores["n"].items()):
        axes.stairs(
            counts,
            edges,
            fill=number == 1,
            alpha=0.55 if number == 1 else 1,
            color=COLORS[number],
            linewidth=1.8,
            label=_short(name),
        )
    axes.set_yscale("symlog")  # a few errors among many right ones are still seen
    axes.set_ylim(bottom=0)
    axes.set_xlabel("probability")
    axes.set_ylabel("texts")
    for text in axes.legend().get_texts():
        text.set_parse_math(False)


def _short(name: str, limit: int = 24) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
