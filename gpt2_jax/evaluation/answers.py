"""The section of the report on what was answered: by class, and what was confused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gpt2_jax.evaluation.confusions import MAX_MATRIX, confused_pairs
from gpt2_jax.evaluation.heat_map import heat_map_svg, scale_html
from gpt2_jax.evaluation.markup import (
    escape,
    number_cell,
    row,
    shaded_cell,
    sorts,
    table,
)
from gpt2_jax.evaluation.summary import subject

_MAX_PAIRS = 20

_Row = tuple[str, Mapping[str, Any]]  # a class, and its scores


def answers(test: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return the section as HTML; many classes are sorted, clustered and listed."""
    confusion = np.asarray(test["confusion"])
    if len(classes) <= MAX_MATRIX:
        each = _by_label(list(test["per_class"].items()), "By label")
        matrix = _matrix(confusion, classes)
        return f'{_means(test, classes)}<div class="beside">{matrix}{each}</div>\n'
    return (
        f"{_means(test, classes)}"
        f"<figure>{heat_map_svg(confusion, classes)}"
        f"{scale_html()}<figcaption>Confusion, true labels in rows, answers in "
        "columns, as shares of the true label; labels mistaken for one another stand "
        "side by side. Blue: right, orange: wrong; pointing at a cell names it."
        f"</figcaption></figure>\n{_pairs(confusion, classes)}{_sortable(test)}"
    )


def _means(test: Mapping[str, Any], classes: Sequence[str]) -> str:
    values = ", ".join(
        f"{name} {test[key]:.4f}"
        for key, name in (
            ("macro_f1", "macro-F1"),
            ("weighted_f1", "weighted F1"),
            ("balanced_accuracy", "balanced accuracy"),
        )
    )
    mine = ", ".join(
        f"{name} {test[key]:.4f}"
        for key, name in (
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "F1"),
        )
    )
    values = f"{values[0].upper()}{values[1:]}"
    return f"<p>{values}; {escape(subject(test, classes))}: {mine}.</p>\n"


def _matrix(confusion: np.ndarray, classes: Sequence[str]) -> str:
    return table(
        ["true", *classes],
        (
            row(name, (shaded_cell(count, sum(counts)) for count in counts))
            for name, counts in zip(classes, confusion.tolist(), strict=True)
        ),
        "confusion",
        "Confusion: true labels in rows, answers in columns",
    )


def _by_label(rows: Sequence[tuple[str, Mapping[str, Any]]], caption: str) -> str:
    return table(
        ["label", "precision", "recall", "F1", "texts"],
        (row(name, _scores(values)) for name, values in rows),
        "each",
        caption,
    )


def _scores(values: Mapping[str, Any]) -> list[str]:
    ratios = (f"{values[key]:.3f}" for key in ("precision", "recall", "f1"))
    return [number_cell(value) for value in (*ratios, values["n"])]


def _pairs(confusion: np.ndarray, classes: Sequence[str]) -> str:
    support = confusion.sum(axis=1)
    rows = (
        row(
            classes[true],
            [
                f"<td>{escape(classes[answer])}</td>",
                number_cell(count),
                number_cell(f"{100 * count / support[true]:.0f}%"),
            ],
        )
        for true, answer, count in confused_pairs(confusion, _MAX_PAIRS)
    )
    head = ["true", "answer", "texts", "of the label"]
    return table(head, rows, "pairs", "The commonest errors")


def _sortable(test: Mapping[str, Any]) -> str:
    """Return the table by label in three orders."""
    orders: dict[str, tuple[str, Callable[[_Row], Any]]] = {
        "f1": ("lowest F1 first", lambda each: (each[1]["f1"], -each[1]["n"])),
        "texts": ("most texts first", lambda each: -each[1]["n"]),
        "name": ("by name", lambda each: 0),
    }
    tables = {}
    for name, (words, order) in orders.items():
        rows = sorted(test["per_class"].items(), key=order)
        tables[name] = words, _by_label(rows, words)
    return sorts("by", tables)
