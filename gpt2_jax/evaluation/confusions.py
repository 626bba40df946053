"""Which classes are mistaken for which, in an order in which many can be read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_MATRIX = 12  # classes whose matrix is still read cell by cell


def confused_pairs(
    confusion: np.ndarray, limit: int | None = None
) -> list[tuple[int, int, int]]:
    """Return (true class, answer, texts) of the errors, the commonest pairs first."""
    errors = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-errors, axis=None, kind="stable")[: (errors > 0).sum()]
    rows, columns = np.unravel_index(order[:limit], errors.shape)
    return [
        (int(row), int(column), int(errors[row, column]))
        for row, column in zip(rows, columns, strict=True)
    ]


def cluster_order(confusion: np.ndarray) -> list[int]:
    """Return the classes so that those mistaken for one another are neighbours.

    Average linkage on the shares of mistaken texts, with the leaves in optimal order
    (Bar-Joseph et al. 2001).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(confusion) < 3:
        return list(range(len(confusion)))
    shares = row_shares(confusion)
    np.fill_diagonal(shares, 0.0)
    distance = 1.0 - np.minimum(1.0, (shares + shares.T) / 2)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree).tolist()


def row_shares(confusion: np.ndarray) -> np.ndarray:
    """Return the share of each class's texts [C, C] that have each answer."""
    return confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)


def worst_and_best(
    f1: Sequence[float], support: Sequence[int], number: int
) -> tuple[list[int], list[int]]:
    """Return the classes of lowest and of highest F1 among those that have texts."""
    there = [c for c, texts in enumerate(support) if texts]
    by_f1 = sorted(there, key=lambda c: (f1[c], -support[c]))
    worst = by_f1[:number]
    return worst, [c for c in by_f1[::-1][:number] if c not in worst]
