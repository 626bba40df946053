"""Curves against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from gpt2_jax.evaluation.curves import (
    MAX_POINTS,
    average_precision,
    collect_curves,
    precision_recall_points,
    reliability,
    roc_points,
)
from gpt2_jax.evaluation.metrics import expected_calibration_error


def _case(rows: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores with many ties, and which of them are positive."""
    random = np.random.default_rng(seed)
    positive = random.random(rows) < 0.4
    scores = np.round(np.clip(random.normal(0.4 + 0.2 * positive, 0.2), 0, 1), 1)
    return scores, positive


def test_the_roc_curve_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    scores, positive = _case()
    expected = metrics.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc_points(scores, positive), expected[:2])


def test_precision_and_recall_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    scores, positive = _case()
    precision, recall, _ = metrics.precision_recall_curve(positive, scores)
    got = precision_recall_points(scores, positive)
    np.testing.assert_allclose(got, [recall[::-1], precision[::-1]])
    expected = metrics.average_precision_score(positive, scores)
    assert average_precision(scores, positive) == pytest.approx(expected)
    assert average_precision(scores, np.zeros(80, bool)) is None


def test_stored_curves_are_small_and_have_the_same_area():
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 5000)
    spam = random.beta(1 + 2 * labels, 3 - 2 * labels)
    curves = collect_curves(
        np.stack([1 - spam, spam], axis=-1), labels, ("ham", "spam"), 10
    )
    assert list(curves["roc"]) == list(curves["precision_recall"]) == ["spam"]
    stored = curves["roc"]["spam"]
    assert len(stored["fpr"]) <= MAX_POINTS
    false_positive, true_positive = roc_points(spam, labels == 1)
    exact = np.trapezoid(true_positive, false_positive)
    assert np.trapezoid(stored["tpr"], stored["fpr"]) == pytest.approx(exact, abs=1e-3)


def test_with_more_classes_each_has_a_curve_against_the_rest():
    probabilities = np.random.default_rng(2).dirichlet(np.ones(3), 30)
    curves = collect_curves(probabilities, np.arange(30) % 3, ("a", "b", "c"), 10)
    assert list(curves["roc"]) == ["a", "b", "c"]


def test_the_gaps_of_the_reliability_diagram_are_the_calibration_error():
    random = np.random.default_rng(3)
    probabilities, labels = (
        random.dirichlet(np.ones(3), 200),
        random.integers(0, 3, 200),
    )
    bins = {k: np.asarray(v) for k, v in reliability(probabilities, labels, 10).items()}
    assert bins["n"].sum() == 200
    gaps = np.abs(bins["confidence"] - bins["accuracy"]) * bins["n"] / 200
    expected = expected_calibration_error(probabilities, labels)
    assert gaps.sum() == pytest.approx(expected, abs=1e-4)
