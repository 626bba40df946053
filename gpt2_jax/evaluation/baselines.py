"""What a classifier must beat: the majority class, and TF-IDF with regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def majority_accuracy(train_labels: np.ndarray, test_labels: np.ndarray) -> float:
    """Return the test accuracy of always naming the commonest training class."""
    return float((test_labels == np.bincount(train_labels).argmax()).mean())


def tfidf_logreg_accuracy(
    train_texts: Sequence[str],
    train_labels: np.ndarray,
    test_texts: Sequence[str],
    test_labels: np.ndarray,
) -> float | None:
    """Return the test accuracy of logistic regression on character TF-IDF.

    None when scikit-learn (the extra `report`) is not installed, or when the texts hold
    no characters to count.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError:
        return None
    if not any(text.strip() for text in train_texts):
        return None
    pipeline = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=2000),
    )
    pipeline.fit(train_texts, train_labels)
    return float((pipeline.predict(test_texts) == test_labels).mean())
