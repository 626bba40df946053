"""Fewer rows at random: so many of each class, or each class alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np


def few_of_each(labels: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Return sorted row numbers, `number` of each class or all that it has."""
    random = np.random.RandomState(seed)
    kept = [
        rows[random.permutation(len(rows))[:number]]
        for rows in (np.flatnonzero(labels == c) for c in np.unique(labels))
    ]
    return np.sort(np.concatenate(kept))


def undersample(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return sorted row numbers with as many rows of each class as of the rarest."""
    return few_of_each(labels, min(Counter(labels.tolist()).values()), seed)


def share_out(strata: Sequence[tuple[str, int]], limit: int, seed: int) -> np.ndarray:
    """Return `limit` sorted row numbers; each stratum has its share, and one row.

    `limit` is not below the number of strata, nor above that of rows.
    """
    members: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row, stratum in enumerate(strata):
        members[stratum].append(row)
    keys = sorted(members)
    exact = np.asarray([len(members[key]) for key in keys]) * limit / len(strata)
    counts = np.maximum(1, np.floor(exact).astype(int))
    while counts.sum() != limit:  # one by one, where it is furthest from its share
        over = counts.sum() > limit
        gaps = np.where(counts > 1, counts - exact, -np.inf) if over else exact - counts
        counts[gaps.argmax()] += -1 if over else 1
    random = np.random.RandomState(seed)
    picked = [
        np.asarray(members[key])[random.permutation(len(members[key]))[:count]]
        for key, count in zip(keys, counts, strict=True)
    ]
    return np.sort(np.concatenate(picked))


def book_rows(labels: np.ndarray, seed: int, shuffles: int) -> np.ndarray:
    """Repeat the book's balanced frame, shuffled so many times with the same seed.

    Source: LLMs-from-scratch ch06 gpt_class_finetune.py, create_balanced_dataset and
    random_split. pandas' `sample(n, random_state=s)` is
    `RandomState(s).permutation(len)[:n]`.
    """
    ham, spam = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    ham = ham[np.random.RandomState(seed).permutation(len(ham))[: len(spam)]]
    rows = np.concatenate([ham, spam])
    for _ in range(shuffles):
        rows = rows[np.random.RandomState(seed).permutation(len(rows))]
    return rows
