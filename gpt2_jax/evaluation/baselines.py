"""What a classifier must beat: the majority class, and linear models on TF-IDF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.evaluation.metrics import confusion_matrix, mean_scores
from gpt2_jax.lexical.ngrams import CHARS, WORDS
from gpt2_jax.model.pools import POOLS

# The linear models, and what each counts.
LINEAR: Mapping[str, str] = {"tfidf_logreg": CHARS, "tfidf_words_logreg": WORDS}
NAMES = {
    "majority": "the majority class",
    "tfidf_logreg": "TF-IDF of characters + logistic regression",
    "tfidf_words_logreg": "TF-IDF of words + logistic regression",
}
NOT_MEASURED = "the linear baselines were not measured: install gpt2-jax[report]"


def measure_baselines(
    train_labels: np.ndarray,
    test_labels: np.ndarray,
    answers: Mapping[str, np.ndarray | None],
    *,
    num_classes: int,
    linear: bool = True,
) -> dict[str, Any]:
    """Return the `baselines` entry of results.json: accuracies, and macro-F1 by name.

    What was not measured is None; without `linear` that was wanted, and `left_out` says
    so.

    Args:
        answers: classes [N] that each of `LINEAR` gives to the test texts.
    """
    commonest = np.full(len(test_labels), np.bincount(train_labels).argmax())
    accuracies: dict[str, Any] = {}
    macro_f1: dict[str, float | None] = {}
    for name in NAMES:
        predicted = commonest if name == "majority" else answers.get(name)
        accuracies[name] = macro_f1[name] = None
        if predicted is not None:
            confusion = confusion_matrix(test_labels, predicted, num_classes)
            accuracies[name] = float((predicted == test_labels).mean())
            macro_f1[name] = mean_scores(confusion)["macro_f1"]
    why = {} if linear else {"left_out": "--baselines none"}
    return {**accuracies, "macro_f1": macro_f1, **why}


def compare_with_linear(
    baselines: Mapping[str, Any],
    accuracy: float,
    macro_f1: float,
    tries: Sequence[str] = (),
) -> str | None:
    """Return a sentence where a linear model is as good or better; else None.

    `tries` are what the run may try instead.
    """
    scores = baselines["macro_f1"]

    def ahead(name: str) -> list[str]:
        pairs = {
            "accuracy": (baselines[name], accuracy),
            "macro-F1": (scores[name], macro_f1),
        }
        return [words for words, (theirs, ours) in pairs.items() if theirs >= ours]

    measured = [name for name in LINEAR if baselines.get(name) is not None]
    best = max(measured, key=lambda n: (len(ahead(n)), scores[n]), default=None)
    if best is None or not ahead(best):
        return None
    ways = [", ".join(tries)] * bool(tries) + ["use the linear model"]
    return (
        f"{NAMES[best]} is as good as this model or better in "
        f"{' and '.join(ahead(best))}: accuracy {100 * baselines[best]:.2f}% against "
        f"{100 * accuracy:.2f}%, macro-F1 {scores[best]:.3f} against {macro_f1:.3f}; "
        f"try {', or '.join(ways)}"
    )


def untried(config: FinetuneConfig) -> list[str]:
    """Return the settings that a run of `config` might gain from, as flags."""
    train, ways = config.train, [] if config.lexical else ["--lexical"]
    if train.trainable in (("head",), ("last_block",)):
        ways.append("--trainable last_two_blocks --learning-rate 5e-4")
    if not POOLS[config.pool].mean:
        ways.append("--pool mean")
    if config.weights == "mini":
        ways.append("--weights 124M")
    return ways
