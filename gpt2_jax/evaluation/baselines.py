"""What a classifier must beat: the majority class, and linear models on TF-IDF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.evaluation.metrics import confusion_matrix, mean_scores
from gpt2_jax.model.pools import POOLS

# How each linear model counts a text, and what it is called.
_COUNTS: Mapping[str, dict[str, Any]] = {
    "tfidf_logreg": {"analyzer": "char_wb", "ngram_range": (2, 5)},
    "tfidf_words_logreg": {"analyzer": "word", "ngram_range": (1, 2)},
}
NAMES = {
    "majority": "the majority class",
    "tfidf_logreg": "TF-IDF of characters + logistic regression",
    "tfidf_words_logreg": "TF-IDF of words + logistic regression",
}
NOT_MEASURED = "the linear baselines were not measured: install gpt2-jax[report]"


def majority_accuracy(train_labels: np.ndarray, test_labels: np.ndarray) -> float:
    """Return the test accuracy of always naming the commonest training class."""
    return float((test_labels == np.bincount(train_labels).argmax()).mean())


def tfidf_logreg(
    name: str,
    train_texts: Sequence[str],
    train_labels: np.ndarray,
    test_texts: Sequence[str],
) -> np.ndarray | None:
    """Return the answers [N] of the linear model `name` to the test texts.

    None when scikit-learn (the extra `report`) is not installed, or when the texts hold
    nothing to count.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return None
    # Of many classes, lbfgs and float64 keep 35 times the coefficients in memory.
    how: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32, **_COUNTS[name]}
    vectorizer = TfidfVectorizer(**how)
    try:
        features = vectorizer.fit_transform(train_texts)
    except ValueError:  # "empty vocabulary"
        return None
    model = LogisticRegression(C=10.0, max_iter=2000, solver="newton-cg")
    model.fit(features, train_labels)
    return np.asarray(model.predict(vectorizer.transform(test_texts)))


def measure_baselines(
    train_texts: Sequence[str],
    train_labels: np.ndarray,
    test_texts: Sequence[str],
    test_labels: np.ndarray,
    *,
    num_classes: int,
    linear: bool = True,
) -> dict[str, Any]:
    """Return the `baselines` entry of results.json: accuracies, and macro-F1 by name.

    They are fitted on the rows that the classifier is trained on. What was not measured
    is None; without `linear` no linear model is, and `left_out` says so.
    """
    answers: dict[str, np.ndarray | None] = {
        "majority": np.full(len(test_labels), np.bincount(train_labels).argmax())
    }
    for name in _COUNTS:
        answers[name] = (
            tfidf_logreg(name, train_texts, train_labels, test_texts)
            if linear
            else None
        )
    accuracies: dict[str, Any] = {}
    macro_f1: dict[str, float | None] = {}
    for name, predicted in answers.items():
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

    measured = [name for name in _COUNTS if baselines.get(name) is not None]
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
    train, ways = config.train, []
    if train.trainable in (("head",), ("last_block",)):
        ways.append("--trainable last_two_blocks --learning-rate 5e-4")
    if not POOLS[config.pool].mean:
        ways.append("--pool mean")
    if config.weights == "mini":
        ways.append("--weights 124M")
    return ways
