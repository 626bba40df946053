"""The figures of a run over its epochs: loss, accuracy, learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gpt2_jax.evaluation.svg import COLORS, STYLES

History = Sequence[dict[str, Any]]  # metrics.jsonl
Results = dict[str, Any]  # results.json


def draw_loss(axes: Any, history: History, results: Results) -> None:
    few = [line for line in history if "train_loss" in line]
    whole = [
        {"step": line["step"], "all": line["validation_loss"]}
        for line in history
        if "epoch" in line and "validation_loss" in line
    ]
    lines = {"train_loss": "train", "validation_loss": "validation"}
    if whole:  # runs of the first versions measured a few batches alone
        lines |= {"validation_loss": "validation, some", "all": "validation, all"}
    _draw_history(axes, [*few, *whole], lines, results, "cross-entropy (nats)")
    axes.set_ylim(bottom=0)


def draw_accuracy(axes: Any, history: History, results: Results) -> None:
    lines = {"train_accuracy": "train", "validation_accuracy": "validation"}
    _draw_history(axes, history, lines, results, "accuracy (%)", scale=100)


def draw_learning_rate(axes: Any, rates: dict[str, Any]) -> None:
    highest = max(rates["value"])
    exponent = math.floor(math.log10(highest)) if highest else 0
    scaled = [value / 10**exponent for value in rates["value"]]
    axes.plot(rates["epoch"], scaled, "-", color=COLORS[0])
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, 1.02 * rates["epoch"][-1])
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"learning rate (1e{exponent})")


def _draw_history(
    axes: Any,
    history: History,
    lines: dict[str, str],
    results: Results,
    ylabel: str,
    scale: float = 1,
) -> None:
    """Draw values over epochs, with the examples seen on a second axis, as the book."""
    batch_size = results["examples_seen"] / results["steps"]
    per_epoch = results["data"]["used"]["train"] // batch_size
    for (key, label), color, style in zip(lines.items(), COLORS, STYLES, strict=False):
        points = [
            (line["step"] / per_epoch, scale * line[key])
            for line in history
            if key in line
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True), style, marker="o", color=color, label=label
            )
    axes.set_xlim(0, 1.02 * results["steps"] / per_epoch)
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.legend()
    top = axes.secondary_xaxis(
        "top",
        functions=(
            lambda epoch: epoch * per_epoch * batch_size,
            lambda seen: seen / per_epoch / batch_size,
        ),
    )
    top.set_xlabel("examples seen")
