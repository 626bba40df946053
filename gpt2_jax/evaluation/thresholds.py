"""The table of the report on thresholds: what each finds, and how often it errs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpt2_jax.evaluation.markup import escape, number_cell, row, table


def thresholds(curve: Mapping[str, Any] | None) -> str:
    """Return the table as HTML; `curve` is that of curves.json, None in old runs."""
    if curve is None:
        return ""
    of = str(curve["of"])
    if curve["kind"] == "abstain":
        head = ["from", "right", "answered, of 1,000 texts"]
        caption = "If no label is given below a probability"
        keys: tuple[str, ...] = ("precision", "per_1000")
        words = "<code>--abstain-below</code> sets it, for each use."
    else:
        head = ["from", "precision", "recall", "alarms per 1,000 texts"]
        caption = f"If {of} is given from a probability on"
        keys = ("precision", "recall", "per_1000")
        words = (
            "<code>gpt2-jax threshold</code> chooses one on the validation part, and "
            "stores it with the model. Alarms are those of texts like the test part, "
            f"with its share of {escape(of)}."
        )
    rows = (
        row(f"{line['threshold']:g}", [number_cell(_shown(key, line)) for key in keys])
        for line in curve["rows"]
    )
    return f"{table(head, rows, 'thresholds', caption)}<p class='soft'>{words}</p>\n"


def _shown(key: str, line: Mapping[str, Any]) -> str:
    value = line[key]
    if value is None:
        return "n/a"
    return f"{value:.0f}" if key == "per_1000" else f"{value:.3f}"
