"""Which class an answer names: the likeliest, or one from a threshold on."""

from __future__ import annotations

import dataclasses

import numpy as np

from gpt2_jax.evaluation.curves import operating_points


@dataclasses.dataclass(frozen=True)
class Choice:
    """A threshold, and what the class has from it on."""

    value: float
    precision: float
    recall: float


def decide(
    probabilities: np.ndarray, threshold: tuple[int, float] | None = None
) -> np.ndarray:
    """Return the class of each row [N]: the likeliest one.

    With a threshold (class, value) it is that class where its probability is not below
    the value, and the likeliest of the others elsewhere.
    """
    if threshold is None:
        return probabilities.argmax(-1)
    index, value = threshold
    others = probabilities.copy()
    others[:, index] = -1.0
    return np.where(probabilities[:, index] >= value, index, others.argmax(-1))


def choose_threshold(
    scores: np.ndarray,
    positive: np.ndarray,
    *,
    precision: float | None = None,
    recall: float | None = None,
) -> tuple[Choice | None, Choice]:
    """Return the threshold that reaches the target, and the one that comes nearest.

    Of those that reach it, it is the one with the most of the other measure. The first
    is None if none reaches it.
    """
    values, precisions, recalls = _thresholds(scores, positive)
    wanted, other = (precisions, recalls) if recall is None else (recalls, precisions)
    target = precision if recall is None else recall
    assert target is not None

    def choice(index: int) -> Choice:
        return Choice(*(float(of[index]) for of in (values, precisions, recalls)))

    nearest = choice(np.lexsort((other, wanted))[-1])
    reached = np.flatnonzero(wanted >= target)
    if not len(reached):
        return None, nearest
    best = reached[np.lexsort((wanted[reached], other[reached]))[-1]]
    return choice(int(best)), nearest


def choose_best_f1(scores: np.ndarray, positive: np.ndarray) -> Choice:
    """Return the threshold with the highest F1; of several the highest one.

    Of well calibrated probabilities it is half of that F1 (Lipton et al. 2014, "Optimal
    Thresholding of Classifiers to Maximize F1 Measure"): below 0.5 for a rare class.
    """
    values, precisions, recalls = _thresholds(scores, positive)
    both = np.maximum(precisions + recalls, 1e-12)
    best = int((precisions * recalls / both).argmax())
    return Choice(*(float(of[best]) for of in (values, precisions, recalls)))


def _thresholds(
    scores: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return every threshold, descending, with precision and recall from it on.

    Each lies midway between two scores, so that a rounded probability falls on the
    same side.
    """
    values, hits, misses = operating_points(scores, positive)
    middles = (values + np.append(values[1:], 0.0)) / 2
    return middles, hits / (hits + misses), hits / max(positive.sum(), 1)
