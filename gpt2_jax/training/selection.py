"""Which step of a run is the best on validation, and when it will not get better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gpt2_jax.config import TrainConfig


def score(validation: Mapping[str, float], metric: str, num_texts: int) -> float:
    """Return how good a step is, more is better, from its mean loss and the like.

    Between equal values of the metric the lower loss is better.
    """
    tie = 1 / (1 + validation["loss"])  # in (0, 1]
    return {
        "accuracy": round(validation["accuracy"] * num_texts) + tie,
        "loss": tie,
        "f1": validation["f1"] + 1e-6 * tie,
    }[metric]


def is_exhausted(
    history: Iterable[Mapping[str, Any]], config: TrainConfig, num_texts: int
) -> bool:
    """Return whether the last `patience` epochs brought nothing better.

    `history` is metrics.jsonl: a resumed run stops where the whole one did.
    """
    if config.patience is None:
        return False
    scores = [
        score(
            {name: line[f"validation_{name}"] for name in ("loss", "accuracy", "f1")},
            config.metric,
            num_texts,
        )
        for line in history
        if "epoch" in line
    ]
    before = scores[: -config.patience]
    return bool(before) and max(scores) == max(before)
