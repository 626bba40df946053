"""What a run must be ahead of: linear models, their strength chosen on validation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from experiments.baselines import parts_of
from gpt2_jax.config import FinetuneConfig
from gpt2_jax.evaluation.metrics import confusion_matrix, mean_scores
from gpt2_jax.lexical.fit import fit_linear

NAMES = {"chars": "TF-IDF of characters", "words": "TF-IDF of words"}
STRENGTHS = (1.0, 10.0, 100.0)


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return accuracy and macro-F1 in percent."""
    predicted = logits.argmax(-1)
    confusion = confusion_matrix(labels, predicted, logits.shape[-1])
    return {
        "accuracy": 100 * float((predicted == labels).mean()),
        "macro_f1": 100 * mean_scores(confusion)["macro_f1"],
    }


def measure_linear(config: FinetuneConfig) -> Mapping[str, Mapping[str, float]]:
    """Return the scores of each linear model on the parts of a run of `config`."""
    parts = parts_of(config)
    texts, labels = parts["train"]
    num_classes = 1 + max(int(of.max()) for _, of in parts.values())
    found: dict[str, Mapping[str, float]] = {}
    for kind, name in NAMES.items():
        tried = []
        for strength in STRENGTHS:
            model = fit_linear(kind, texts, labels, num_classes, strength=strength)
            if model is None:
                continue
            each = {
                f"{part}_{metric}": value
                for part in ("validation", "test")
                for metric, value in scores(
                    model.logits(parts[part][0]), parts[part][1]
                ).items()
            }
            tried.append({**each, "strength": strength})
        found[name] = max(tried, key=lambda each: each["validation_macro_f1"])
    return found
