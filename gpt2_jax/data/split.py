"""Which rows are used, and which of them train, validate and test."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import Dataset
from gpt2_jax.errors import DataError


@dataclasses.dataclass(frozen=True)
class Split:
    """Row numbers of a dataset, int64 each."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    dropped: int  # rows left out to balance the classes
    notes: tuple[str, ...] = ()

    def parts(self) -> dict[str, np.ndarray]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split_dataset(dataset: Dataset, config: DataConfig) -> Split:
    """Balance and split `dataset`, as a function of `config` alone.

    Raises:
        DataError: a part without rows, or a class that the training part lacks.
    """
    labels = np.asarray(dataset.labels)
    if config.book:
        counts = np.bincount(labels)
        if len(counts) != 2 or counts[0] < counts[1]:
            raise DataError(
                f"{dataset.name}: the book's sampling needs two classes, the first in "
                "the majority (ham, spam); leave --preset book away"
            )
        rows = _book_rows(labels, config.split_seed)
        sizes = np.cumsum([int(part * len(rows)) for part in config.split[:2]])
        parts = np.split(rows, sizes)
    else:
        rows = np.arange(len(labels))
        if config.balance == "undersample":
            rows = undersample(labels, config.split_seed)
        groups = dataset.groups if dataset.groups is not None else dataset.texts
        if not config.group:
            groups = [str(row) for row in range(len(labels))]
        parts = _grouped_split(
            rows, labels, [groups[row] for row in rows], config.split, config.split_seed
        )
    notes = []
    for name, part in zip(("train", "validation", "test"), parts, strict=True):
        lacking = sorted(set(range(len(dataset.classes))) - set(labels[part].tolist()))
        names = ", ".join(dataset.classes[index] for index in lacking)
        if not len(part) or (lacking and name == "train"):
            raise DataError(
                f"{dataset.name}: {len(rows)} texts are too few: the {name} part "
                f"lacks {names}; add texts or change --split"
            )
        if lacking:
            notes.append(f"the {name} part holds no text of {names}")
    train, validation, test = parts
    return Split(train, validation, test, len(labels) - len(rows), tuple(notes))


def undersample(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return sorted row numbers with as many rows of each class as of the rarest."""
    rarest = min(Counter(labels.tolist()).values())
    random = np.random.RandomState(seed)
    kept = [
        rows[random.permutation(len(rows))[:rarest]]
        for rows in (np.flatnonzero(labels == c) for c in np.unique(labels))
    ]
    return np.sort(np.concatenate(kept))


def _book_rows(labels: np.ndarray, seed: int) -> np.ndarray:
    """Repeat the book's balanced, shuffled frame.

    Source: LLMs-from-scratch ch06 gpt_class_finetune.py, create_balanced_dataset and
    random_split. pandas' `sample(n, random_state=s)` is
    `RandomState(s).permutation(len)[:n]`.
    """
    ham, spam = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    ham = ham[np.random.RandomState(seed).permutation(len(ham))[: len(spam)]]
    rows = np.concatenate([ham, spam])
    return rows[np.random.RandomState(seed).permutation(len(rows))]


def _grouped_split(
    rows: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    shares: Sequence[float],
    seed: int,
) -> list[np.ndarray]:
    """Split by group, so that no group is on two sides, and evenly in each class."""
    members: dict[str, list[int]] = defaultdict(list)
    for row, group in zip(rows.tolist(), groups, strict=True):
        members[group].append(row)
    strata: dict[int, list[list[int]]] = defaultdict(list)
    for group in members.values():
        counts = Counter(labels[group].tolist())
        strata[max(sorted(counts), key=counts.__getitem__)].append(group)
    bounds = np.cumsum(shares)[:-1]
    parts: list[list[int]] = [[] for _ in shares]
    random = np.random.RandomState(seed)
    for stratum in (strata[label] for label in sorted(strata)):
        total, seen = sum(map(len, stratum)), 0
        for index in random.permutation(len(stratum)):
            group = stratum[index]
            middle = (seen + len(group) / 2) / total
            parts[int(np.searchsorted(bounds, middle, side="right"))].extend(group)
            seen += len(group)
    return [np.sort(np.asarray(part, np.int64)) for part in parts]
