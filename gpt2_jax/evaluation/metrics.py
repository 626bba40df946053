"""Metrics of class probabilities against labels; numpy only, exact over all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    *,
    positive: str | None = None,
) -> dict[str, Any]:
    """Return the `test` entry of results.json.

    With two classes precision, recall, F1 and both AUCs are of `positive` (None: the
    second); with more they are means. Means are over the classes that are there, as
    scikit-learn takes them: true or predicted ones, for balanced accuracy and the AUCs
    true ones. A ratio of 0 to 0 is 0; an AUC with one class only is None. `predicted`
    is what was answered; None: the likeliest class.
    """
    num_classes = len(classes)
    if num_classes == 2:
        positive = classes[1] if positive is None else positive
    answers = probabilities.argmax(-1) if predicted is None else predicted
    confusion = confusion_matrix(labels, answers, num_classes)
    precision, recall, f1 = scores_by_class(confusion)
    support = confusion.sum(axis=1)
    chosen = np.flatnonzero(support + confusion.sum(axis=0))
    if num_classes == 2:
        chosen = np.asarray([list(classes).index(str(positive))])
    one_hot = np.eye(num_classes)[labels]
    squared = (probabilities - one_hot) ** 2
    return {
        "positive": positive,
        "precision": float(precision[chosen].mean()),
        "recall": float(recall[chosen].mean()),
        "f1": float(f1[chosen].mean()),
        **mean_scores(confusion),
        "confusion": confusion.tolist(),
        "roc_auc": _mean_area(roc_auc, probabilities, labels, chosen),
        "pr_auc": _mean_area(average_precision, probabilities, labels, chosen),
        "brier": float(
            squared[:, 1].mean() if num_classes == 2 else squared.sum(-1).mean()
        ),
        "ece": expected_calibration_error(probabilities, labels),
        "ci95": wilson_interval(int(np.trace(confusion)), len(labels)),
        "n": len(labels),
        "per_class": {
            name: {
                "precision": float(precision[c]),
                "recall": float(recall[c]),
                "f1": float(f1[c]),
                "n": int(support[c]),
            }
            for c, name in enumerate(classes)
        },
    }


def scores_by_class(
    confusion: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 [C] each; a ratio of 0 to 0 is 0."""
    hits, answered, support = (
        np.diag(confusion),
        confusion.sum(axis=0),
        confusion.sum(axis=1),
    )
    return (
        _ratio(hits, answered),
        _ratio(hits, support),
        _ratio(2 * hits, answered + support),
    )


def mean_scores(confusion: np.ndarray) -> dict[str, float]:
    """Return macro-F1, weighted F1 and balanced accuracy, as scikit-learn defines them.

    Macro-F1 is the mean over the classes that are true or predicted somewhere, balanced
    accuracy the mean recall of those that are true somewhere.
    """
    _, recall, f1 = scores_by_class(confusion)
    support = confusion.sum(axis=1)
    there = support + confusion.sum(axis=0) > 0
    return {
        "macro_f1": float(f1[there].mean()),
        "weighted_f1": float((f1 * support).sum() / support.sum()),
        "balanced_accuracy": float(recall[support > 0].mean()),
    }


def macro_f1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean F1 over the classes that are true or predicted somewhere."""
    confusion = confusion_matrix(labels, logits.argmax(-1), logits.shape[-1])
    return mean_scores(confusion)["macro_f1"]


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
    """Return the 95% interval of a share, `correct` of `total` > 0 (Wilson 1927)."""
    rate, denominator = correct / total, 1 + z**2 / total
    center = (rate + z**2 / (2 * total)) / denominator
    spread = math.sqrt(rate * (1 - rate) / total + z**2 / (4 * total**2))
    half = z * spread / denominator
    return [max(0.0, center - half), min(1.0, center + half)]


def _mean_area(
    area: Callable[[np.ndarray, np.ndarray], float | None],
    probabilities: np.ndarray,
    labels: np.ndarray,
    chosen: np.ndarray,
) -> float | None:
    """Return the mean area over the chosen classes against the rest, where it is one.

    A class that no text has, or all have, is no case of two.
    """
    present = [c for c in chosen if 0 < (labels == c).sum() < len(labels)]
    areas = [area(probabilities[:, c], labels == c) for c in present]
    known = [value for value in areas if value is not None]
    return float(np.mean(known)) if known else None


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(
        numerator,
        denominator,
        out=np.zeros(len(numerator), np.float64),
        where=denominator > 0,
    )
