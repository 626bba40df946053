"""Labels that are probably wrong, by probabilities of runs that never saw the texts.

Shapes: `N` texts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIMILAR = 0.8  # cosine of the TF-IDF of two texts that say nearly the same
_ROWS = 512  # that are compared with all at once


def confident_classes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the class that each text is surely of, int [N]; -1: none for sure.

    A text is surely of a class where its probability is not below the mean that texts
    with this label have; of several such classes, of the likeliest.

    Source: Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in
    Dataset Labels", JAIR 70, eq. 1 and 2.

    Args:
        probabilities: out of fold, [N, C].
        labels: as they are given, int [N].
    """
    num_classes = probabilities.shape[-1]
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, own, num_classes)
    thresholds = np.divide(
        sums, counts, out=np.full(num_classes, 2.0), where=counts > 0
    )
    sure = np.where(probabilities >= thresholds, probabilities, -1.0)
    return np.where(sure.max(-1) >= 0, sure.argmax(-1), -1)


def probable_errors(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the rows whose label is probably wrong, the most probable first.

    They are surely of another class, and ranked by how far its probability is above
    that of the label ("normalized margin").
    """
    classes = confident_classes(probabilities, labels)
    rows = np.flatnonzero((classes >= 0) & (classes != labels))
    margin = probabilities[rows, labels[rows]] - probabilities[rows, classes[rows]]
    return rows[np.argsort(margin, kind="stable")]


def overlaps(
    probabilities: np.ndarray, labels: np.ndarray
) -> list[tuple[int, int, int]]:
    """Return pairs of classes, and how many texts of one are surely of the other.

    The pairs with the most come first.
    """
    num_classes = probabilities.shape[-1]
    classes = confident_classes(probabilities, labels)
    sure = classes >= 0
    joint = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(joint, (labels[sure], classes[sure]), 1)
    both = np.triu(joint + joint.T, 1)
    pairs = zip(*np.nonzero(both), strict=True)
    found = [(int(a), int(b), int(both[a, b])) for a, b in pairs]
    return sorted(found, key=lambda pair: -pair[2])


def similar_pairs(texts: Sequence[str], labels: np.ndarray) -> list[tuple[int, int]]:
    """Return pairs of texts that are nearly the same, with different labels.

    The most similar first; a text is paired with the most similar one alone.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5))
    try:
        vectors = vectorizer.fit_transform(texts)
    except ValueError:  # "empty vocabulary"
        return []
    best: dict[tuple[int, int], float] = {}
    for start in range(0, len(texts), _ROWS):
        # Sparse: [rows, N]
        cosines = (vectors[start : start + _ROWS] @ vectors.T).tocoo()
        rows = cosines.row + start
        kept = (cosines.data >= SIMILAR) & (labels[rows] != labels[cosines.col])
        of_row: dict[int, tuple[float, int]] = {}
        for row, other, value in zip(
            rows[kept].tolist(),
            cosines.col[kept].tolist(),
            cosines.data[kept].tolist(),
            strict=True,
        ):
            of_row[row] = max(of_row.get(row, (0.0, 0)), (value, other))
        for row, (value, other) in of_row.items():
            best[min(row, other), max(row, other)] = value
    return sorted(best, key=lambda pair: -best[pair])
