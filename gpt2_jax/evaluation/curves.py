"""ROC, precision-recall and reliability: what a threshold or a probability is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_POINTS = 400  # of a stored curve
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_BINS = 20  # of probabilities


def operating_points(
    scores: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each distinct score, descending, and what it takes in as a threshold.

    That is the number of true and of false positives among the scores not below it.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    return scores[order][last], hits[last], last + 1 - hits[last]


def roc_points(
    scores: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rates, from (0, 0) to (1, 1)."""
    _, hits, misses = operating_points(scores, positive)
    rates = hits / max(positive.sum(), 1), misses / max((~positive).sum(), 1)
    hit_rate, miss_rate = (np.concatenate([[0.0], rate]) for rate in rates)
    return miss_rate, hit_rate


def precision_recall_points(
    scores: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return recalls, ascending, and the precision at each; the first recall is 0."""
    _, hits, misses = operating_points(scores, positive)
    precision = hits / (hits + misses)
    recall = hits / max(positive.sum(), 1)
    return np.concatenate([[0.0], recall]), np.concatenate([[1.0], precision])


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Return the area under the precision-recall curve, without interpolation."""
    if not positive.any():
        return None
    recall, precision = precision_recall_points(scores, positive)
    return float((np.diff(recall) * precision[1:]).sum())


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, num_bins: int
) -> dict[str, list[float]]:
    """Return, by equal bins of the top probability, its mean, the accuracy and n."""
    confidence = probabilities.max(-1)
    correct = probabilities.argmax(-1) == labels
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    used = counts > 0
    means = (np.bincount(bins, v, num_bins)[used] for v in (confidence, correct))
    mean_confidence, accuracy = (sums / counts[used] for sums in means)
    return {
        "confidence": _rounded(mean_confidence),
        "accuracy": _rounded(accuracy),
        "n": counts[used].tolist(),
    }


def collect_curves(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    num_bins: int,
    positive: str | None = None,
) -> dict[str, Any]:
    """Return what curves.json holds of the test part.

    With two classes the curves are of `positive` (None: the second), with more of each
    against the rest.
    """
    chosen = range(len(classes))
    if len(classes) == 2:
        chosen = [1 if positive is None else list(classes).index(positive)]
    roc, precision_recall = {}, {}
    for index in chosen:
        scores, mine = probabilities[:, index], labels == index
        fpr, tpr = _thin(*roc_points(scores, mine))
        roc[classes[index]] = {"fpr": fpr, "tpr": tpr}
        recall, precision = _thin(*precision_recall_points(scores, mine))
        precision_recall[classes[index]] = {"recall": recall, "precision": precision}
    return {
        "roc": roc,
        "precision_recall": precision_recall,
        "reliability": reliability(probabilities, labels, num_bins),
        **_scores(probabilities, labels, classes, positive),
    }


def _scores(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    positive: str | None,
) -> dict[str, Any]:
    """Return the histogram of probabilities, and what each threshold would give.

    They are of `positive`; of more than two classes without one, of the answer.
    """
    if positive is None and len(classes) > 2:
        scores, hits = probabilities.max(-1), probabilities.argmax(-1) == labels
        names, kind = ("right answers", "wrong answers"), "abstain"
    else:
        index = 1 if positive is None else list(classes).index(positive)
        scores, hits = probabilities[:, index], labels == index
        other = "other labels" if len(classes) > 2 else classes[1 - index]
        names, kind = (classes[index], other), "alarm"
    edges = np.linspace(0, 1, _BINS + 1)
    counts = [np.histogram(scores[part], edges)[0] for part in (hits, ~hits)]
    return {
        "scores": {
            "edges": _rounded(edges),
            "n": {name: n.tolist() for name, n in zip(names, counts, strict=True)},
        },
        "thresholds": {
            "kind": kind,
            "of": names[0],
            "rows": [_threshold(scores, hits, value) for value in THRESHOLDS],
        },
    }


def _threshold(scores: np.ndarray, hits: np.ndarray, value: float) -> dict[str, Any]:
    """Return what is taken in from `value` on; a precision of nothing is None."""
    taken = scores >= value
    right = int((taken & hits).sum())
    return {
        "threshold": value,
        "precision": right / int(taken.sum()) if taken.any() else None,
        "recall": right / int(hits.sum()) if hits.any() else None,
        "per_1000": 1000 * float(taken.mean()),
    }


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
    """Leave out points on a straight line between others, and beyond MAX_POINTS."""
    steps = np.diff(np.stack([x, y], axis=-1), axis=0)
    cross = steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]
    kept = np.flatnonzero(np.concatenate([[True], np.abs(cross) > 1e-12, [True]]))
    if len(kept) > MAX_POINTS:
        kept = kept[np.linspace(0, len(kept) - 1, MAX_POINTS).astype(int)]
    return _rounded(x[kept]), _rounded(y[kept])


def _rounded(values: np.ndarray) -> list[float]:
    return np.round(values, 5).tolist()
