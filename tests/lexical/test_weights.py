"""How much each of several models counts, when they answer together."""

from __future__ import annotations

import numpy as np
import pytest

from gpt2_jax.evaluation.metrics import cross_entropy
from gpt2_jax.lexical.fit import fit_weights


def _models(rows: int, strengths: tuple[float, ...]) -> tuple[list, np.ndarray]:
    """Return independent evidence of each strength, and the labels [N]."""
    random = np.random.default_rng(0)
    labels = random.integers(3, size=rows)
    truth = np.eye(3)[labels]
    return [s * truth + random.normal(size=(rows, 3)) for s in strengths], labels


def test_together_they_are_likelier_than_the_best_alone():
    models, labels = _models(3000, (1.5, 1.5))
    fitted, others = models[0], models[1]
    weights = fit_weights(models, labels)
    together = cross_entropy(weights[0] * fitted + weights[1] * others, labels)
    alone = min(cross_entropy(1.5 * rows, labels) for rows in models)
    assert together < alone - 0.1
    # Normal evidence of strength s and variance 1 has the log-odds s x.
    np.testing.assert_allclose(weights, [1.5, 1.5], atol=0.15)


def test_one_that_knows_nothing_counts_for_nothing():
    models, labels = _models(3000, (2.0, 0.0))
    assert fit_weights(models, labels)[1] < 0.1


def test_one_that_is_wrong_does_not_count_below_zero_and_the_first_always_counts():
    models, labels = _models(1000, (0.0, 2.0))
    own, other = fit_weights([-models[1], models[1]], labels)
    assert own == pytest.approx(0.05) and other > 1


def test_few_texts_that_are_all_right_do_not_make_it_certain():
    models, labels = _models(4, (30.0, 30.0))
    assert (fit_weights(models, labels) < 2).all()
    np.testing.assert_allclose(
        fit_weights([rows[:0] for rows in models], labels[:0]), 0.5
    )


def test_the_weights_are_the_minimum():
    models, labels = _models(200, (1.0, 0.5))
    found = fit_weights(models, labels)

    def loss(weights: np.ndarray) -> float:
        joint = sum(w * rows for w, rows in zip(weights, models, strict=True))
        away = weights - 0.5
        return len(labels) * cross_entropy(joint, labels) + away @ away / 2

    for k in range(2):
        for step in (-0.01, 0.01):
            assert loss(found) < loss(found + step * np.eye(2)[k])
