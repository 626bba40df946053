"""Metrics of class probabilities against labels; numpy only, exact over all rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpt2_jax.evaluation.curves import average_precision

ECE_BINS = 10


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities [N, C] in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative log-likelihood in nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_norm = np.log(np.exp(shifted).sum(axis=-1))
    return float((log_norm - shifted[np.arange(len(labels)), labels]).mean())


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float((logits.argmax(-1) == labels).mean())


def confusion_matrix(
    labels: np.ndarray, predicted: np.ndarray, num_classes: int
) -> np.ndarray:
    """Return int counts [C, C]: rows are true classes, columns predicted ones."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def evaluate_probabilities(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    predicted: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the `test` entry of results.json.

    With two classes precision, recall, F1, both AUCs and Brier are of the second class
    (spam); with more, they are means over the classes. A ratio of 0 to 0 is 0; an AUC
    with one class only is None. `predicted` is what was answered; None: the likeliest.
    """
    num_classes = len(classes)
    answers = probabilities.argmax(-1) if predicted is None else predicted
    confusion = confusion_matrix(labels, answers, num_classes)
    hits = np.diag(confusion)
    precision = _ratio(hits, confusion.sum(axis=0))
    recall = _ratio(hits, confusion.sum(axis=1))
    f1 = _ratio(2 * precision * recall, precision + recall)
    chosen = [1] if num_classes == 2 else list(range(num_classes))
    binary = [(probabilities[:, c], labels == c) for c in chosen]
    one_hot = np.eye(num_classes)[labels]
    squared = (probabilities - one_hot) ** 2
    correct = int(hits.sum())
    return {
        "precision": float(precision[chosen].mean()),
        "recall": float(recall[chosen].mean()),
        "f1": float(f1[chosen].mean()),
        "confusion": confusion.tolist(),
        "roc_auc": _mean([roc_auc(*case) for case in binary]),
        "pr_auc": _mean([average_precision(*case) for case in binary]),
        "brier": float(
            squared[:, 1].mean() if num_classes == 2 else squared.sum(-1).mean()
        ),
        "ece": expected_calibration_error(probabilities, labels),
        "ci95": wilson_interval(correct, len(labels)),
        "n": len(labels),
        "per_class": {
            name: {
                "precision": float(precision[c]),
                "recall": float(recall[c]),
                "f1": float(f1[c]),
                "n": int(confusion[c].sum()),
            }
            for c, name in enumerate(classes)
        },
    }


def macro_f1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean F1 over the classes."""
    size = logits.shape[-1]
    confusion = confusion_matrix(labels, logits.argmax(-1), size)
    hits, sizes = np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(_ratio(2.0 * hits, sizes).mean())


def confident_errors(
    probabilities: np.ndarray, labels: np.ndarray, limit: int
) -> np.ndarray:
    """Return the rows that are wrong, those of the highest probability first."""
    wrong = np.flatnonzero(probabilities.argmax(-1) != labels)
    order = np.argsort(-probabilities[wrong].max(-1), kind="stable")
    return wrong[order][:limit]


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Return the area under the ROC curve by ranks, ties shared (Mann-Whitney U)."""
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    u = ranks[positive].sum() - num_positive * (num_positive + 1) / 2
    return float(u / (num_positive * num_negative))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the ECE of the top class over 10 equal bins (Guo et al. 2017, eq. 3)."""
    confidence = probabilities.max(-1)
    correct = probabilities.argmax(-1) == labels
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gap = np.bincount(bins, confidence - correct, ECE_BINS)
    return float(np.abs(gap).sum() / len(labels))


def wilson_interval(correct: int, total: int, z: float = 1.96) -> list[float]:
    """Return the 95% interval of an accuracy (Wilson 1927)."""
    rate, denominator = correct / total, 1 + z**2 / total
    center = (rate + z**2 / (2 * total)) / denominator
    spread = math.sqrt(rate * (1 - rate) / total + z**2 / (4 * total**2))
    half = z * spread / denominator
    return [max(0.0, center - half), min(1.0, center + half)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(
        numerator,
        denominator,
        out=np.zeros(len(numerator), np.float64),
        where=denominator > 0,
    )
