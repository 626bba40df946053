"""Fit the linear models with scikit-learn, and how much they count beside a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpt2_jax.lexical.linear import Lexical, LinearModel
from gpt2_jax.lexical.ngrams import VECTORIZERS

_UNSEEN = -20.0  # logit of a class that no training text has
# How far each log-probability may count, the model's first.
_BOUNDS = (0.05, 20.0), (0.0, 20.0)
# A normal prior on these weights, so that few validation texts do not overrule it.
_PRIOR_MEAN, _PRIOR_PRECISION = 0.5, 1.0


def fit_linear(
    kind: str,
    texts: Sequence[str],
    labels: np.ndarray,
    num_classes: int,
    *,
    strength: float = 10.0,
) -> LinearModel | None:
    """Return logistic regression on TF-IDF of the n-grams `kind`.

    None when the texts hold nothing to count.

    Args:
        labels: classes [N].
        strength: the inverse of the regularisation, C.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    how: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32}
    vectorizer = TfidfVectorizer(**how, **VECTORIZERS[kind])
    try:
        features = vectorizer.fit_transform(texts)
    except ValueError:  # "empty vocabulary"
        return None
    terms = tuple(vectorizer.get_feature_names_out().tolist())
    coef = np.zeros((len(terms), num_classes), np.float32)
    intercept = np.full(num_classes, _UNSEEN, np.float32)
    seen = np.unique(labels)
    intercept[seen] = 0.0
    if len(seen) > 1:
        # Of many classes, lbfgs and float64 keep 35 times the coefficients in memory.
        model = LogisticRegression(C=strength, max_iter=2000, solver="newton-cg")
        model.fit(features, labels)
        columns = seen[1:] if len(seen) == 2 else seen  # two share one row
        coef[:, columns], intercept[columns] = model.coef_.T, model.intercept_
    idf = vectorizer.idf_.astype(np.float32)
    return LinearModel(kind, terms, idf, coef, intercept)


def fit_weights(logits: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Return how much each of several models' log-probabilities count together.

    The weights [K], none negative, make softmax(sum of w_k logits_k) likeliest on
    the labels [N]: temperature scaling (Guo et al. 2017, 4.2) with a number for each
    model. It is convex. The first model counts at least a little.

    Args:
        logits: K arrays [N, C], those of the model first.
    """
    from scipy.optimize import minimize

    stacked = np.stack([_log_softmax(rows) for rows in logits])  # [K, N, C]
    rows = np.arange(len(labels))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        joint = _log_softmax(np.tensordot(weights, stacked, axes=1))
        expected = (np.exp(joint) * stacked).sum(-1)  # [K, N]
        gradient = (expected - stacked[:, rows, labels]).sum(-1)
        away = weights - _PRIOR_MEAN
        value = -joint[rows, labels].sum() + _PRIOR_PRECISION * (away @ away) / 2
        return float(value), gradient + _PRIOR_PRECISION * away

    low, high = _BOUNDS
    found = minimize(
        loss,
        np.full(len(logits), _PRIOR_MEAN),
        jac=True,
        method="L-BFGS-B",
        bounds=[low] + [high] * (len(logits) - 1),
    )
    return np.asarray(found.x)


def fit_lexical(
    models: Sequence[LinearModel], logits: Sequence[np.ndarray], labels: np.ndarray
) -> Lexical:
    """Return what the linear `models` add to the logits of another one.

    Args:
        logits: [N, C] of the other one, and then of each of `models`.
    """
    own, *others = fit_weights(logits, labels)
    pairs = zip(models, others, strict=True)
    return Lexical(tuple(model.scaled(w / own) for model, w in pairs))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
