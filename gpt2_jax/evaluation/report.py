"""The pictures of a run, and report.html around them."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

History = Sequence[dict[str, Any]]


def write_pictures(
    workdir: Path, history: History, results: dict[str, Any]
) -> list[Path]:
    """Write loss.png, accuracy.png and confusion.png; return their paths.

    Returns nothing when matplotlib (the extra `report`) is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return []
    figures = {
        "loss": _loss_figure(Figure, history),
        "accuracy": _accuracy_figure(Figure, history),
        "confusion": _confusion_figure(Figure, results),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(workdir / f"{name}.png")
        figure.savefig(paths[-1], dpi=120)
    return paths


def _curves(
    figure_class: Any, history: History, keys: Sequence[str], ylabel: str
) -> Any:
    figure = figure_class(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for key, style in zip(keys, ("-", "--"), strict=True):
        points = [(line["step"], line[key]) for line in history if key in line]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=key.replace("_", " "))
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _loss_figure(figure_class: Any, history: History) -> Any:
    few = [line for line in history if "train_loss" in line]
    keys = ("train_loss", "validation_loss")
    return _curves(figure_class, few, keys, "cross-entropy (nats)")


def _accuracy_figure(figure_class: Any, history: History) -> Any:
    keys = ("train_accuracy", "validation_accuracy")
    return _curves(figure_class, history, keys, "accuracy")


def _confusion_figure(figure_class: Any, results: dict[str, Any]) -> Any:
    classes = results["data"]["classes"]
    matrix = np.asarray(results["test"]["confusion"])
    figure = figure_class(figsize=(4.5, 4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix, cmap="Blues")
    for (row, column), count in np.ndenumerate(matrix):
        dark = count > matrix.max() / 2
        color = "white" if dark else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color)
    # A class may be named $x$; that is no formula.
    axes.set_xticks(range(len(classes)), classes, parse_math=False)
    axes.set_yticks(range(len(classes)), classes, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


def format_results(results: dict[str, Any]) -> list[str]:
    """Return the result of a run, line by line."""
    parts, test, seconds = results["accuracy"], results["test"], results["seconds"]
    low, high = (100 * bound for bound in test["ci95"])
    baseline = results["baselines"]["tfidf_logreg"]
    shown = "not measured" if baseline is None else f"{100 * baseline:.2f}%"
    return [
        f"accuracy: train {100 * parts['train']:.2f}%, validation "
        f"{100 * parts['validation']:.2f}%, test {100 * parts['test']:.2f}% "
        f"(95% interval {low:.1f} to {high:.1f}, n={test['n']})",
        f"before training: test {100 * results['accuracy_before']:.2f}%",
        f"baselines: majority {100 * results['baselines']['majority']:.2f}%, "
        f"TF-IDF + logistic regression {shown}",
        *format_test(test, results["data"]["classes"]),
        f"seconds: {seconds['total']:.1f} in all (compiling {seconds['compile']:.1f}, "
        f"frozen trunk {seconds['trunk']:.1f}, training {seconds['train']:.1f}) on "
        f"{results['device']}",
    ]


def format_test(test: dict[str, Any], classes: Sequence[str]) -> list[str]:
    """Return precision, recall, F1 and the confusion matrix, line by line."""
    title = "confusion, true in rows:"
    width = max(8, *(len(name) for name in classes))
    first = max(len(title), *(len(name) for name in classes))
    auc = "n/a" if test["roc_auc"] is None else f"{test['roc_auc']:.4f}"
    return [
        f"precision {test['precision']:.4f}, recall {test['recall']:.4f}, "
        f"F1 {test['f1']:.4f}, ROC AUC {auc}",
        *(
            " ".join([name.rjust(first), *(str(cell).rjust(width) for cell in row)])
            for name, row in zip(
                (title, *classes), (classes, *test["confusion"]), strict=True
            )
        ),
    ]


def write_report_html(
    workdir: Path, results: dict[str, Any], pictures: Sequence[Path]
) -> Path:
    """Write report.html: one file, without scripts, that needs nothing beside it."""
    images = "".join(
        f'<img alt="{path.stem}" src="data:image/png;base64,'
        f'{base64.b64encode(path.read_bytes()).decode()}">\n'
        for path in pictures
    )
    if not pictures:
        images = "<p>No pictures: install gpt2-jax[report] for them.</p>\n"
    title = f"{results['weights']} on {results['data']['name']}"
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}}
img{{max-width:100%}}pre{{overflow-x:auto;background:#f4f4f4;padding:1rem}}</style>
<h1>{html.escape(title)}</h1>
<pre>{html.escape(chr(10).join(format_results(results)))}</pre>
{images}</html>
"""
    path = workdir / "report.html"
    path.write_text(page, encoding="utf-8")
    return path
