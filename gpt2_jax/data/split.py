"""Which rows are used, and which of them train, validate and test."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from gpt2_jax.config import BOOK_SPLITS, DataConfig
from gpt2_jax.data import checks
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.parts import PARTS
from gpt2_jax.errors import DataError


@dataclasses.dataclass(frozen=True)
class Split:
    """Row numbers of a dataset, int64 each."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    dropped: int  # rows left out: to balance the classes, or texts that stand twice
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
        shuffles = 1 + BOOK_SPLITS.index(config.book_split)
        rows = _book_rows(labels, config.split_seed, shuffles)
        sizes = np.cumsum([int(part * len(rows)) for part in config.split[:2]])
        parts, notes = np.split(rows, sizes), []
    else:
        rows = np.arange(len(labels))
        if config.drop_duplicates:
            rows = checks.distinct_rows(dataset.texts, dataset.parts)
        split = _own_split if dataset.parts is None else _given_split
        parts, notes = split(dataset, labels, rows, config)
    named: dict[str, np.ndarray] = dict(zip(PARTS, parts, strict=True))
    if config.unseen:
        trained = {dataset.texts[row] for row in named["train"]}
        for name in ("validation", "test"):
            seen = [dataset.texts[row] in trained for row in named[name]]
            named[name] = named[name][~np.asarray(seen, bool)]
    for name, part in named.items():
        lacking = sorted(set(range(len(dataset.classes))) - set(labels[part].tolist()))
        names = ", ".join(dataset.classes[index] for index in lacking)
        if not len(part) or (lacking and name == "train"):
            raise DataError(
                f"{dataset.name}: {len(rows)} texts are too few: the {name} part "
                f"lacks {names}; add texts or change the split"
            )
        if lacking:
            notes.append(f"the {name} part holds no text of {names}")
    notes += checks.shared_texts(dataset.texts, named)
    dropped = len(labels) - sum(map(len, named.values()))
    return Split(**named, dropped=dropped, notes=tuple(notes))


def _own_split(
    dataset: Dataset, labels: np.ndarray, rows: np.ndarray, config: DataConfig
) -> tuple[list[np.ndarray], list[str]]:
    if config.balance == "undersample":
        rows = rows[undersample(labels[rows], config.split_seed)]
    groups = _groups(dataset, config)
    return _grouped_split(rows, labels, groups, config.split, config.split_seed), []


def _given_split(
    dataset: Dataset, labels: np.ndarray, rows: np.ndarray, config: DataConfig
) -> tuple[list[np.ndarray], list[str]]:
    """Return the parts that are given; what is not is cut from the training part.

    Only what is trained on is balanced: the others are measured as they are.
    """
    assert dataset.parts is not None
    given = np.asarray(dataset.parts)[rows]
    parts = {name: rows[given == name] for name in PARTS}
    if not len(parts["train"]):
        raise DataError(
            f"{dataset.name}: no training texts; the split that is given has only "
            f"{', '.join(sorted(set(given.tolist())))}"
        )
    missing = [name for name in PARTS if not len(parts[name])]
    notes = [f"no {name} part is given: cut from the training part" for name in missing]
    if missing:
        cut = ["train", *missing]
        shares = np.asarray([config.split[PARTS.index(name)] for name in cut])
        pieces = _grouped_split(
            parts["train"],
            labels,
            _groups(dataset, config),
            shares / shares.sum(),
            config.split_seed,
        )
        parts |= dict(zip(cut, pieces, strict=True))
    if config.balance == "undersample":
        train = parts["train"]
        parts["train"] = train[undersample(labels[train], config.split_seed)]
    return list(parts.values()), notes


def _groups(dataset: Dataset, config: DataConfig) -> Sequence[object]:
    """Return the group of each row of `dataset`; rows of one stay on one side."""
    if not config.group:
        return range(len(dataset.labels))
    return dataset.groups if dataset.groups is not None else dataset.texts


def undersample(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return sorted row numbers with as many rows of each class as of the rarest."""
    rarest = min(Counter(labels.tolist()).values())
    random = np.random.RandomState(seed)
    kept = [
        rows[random.permutation(len(rows))[:rarest]]
        for rows in (np.flatnonzero(labels == c) for c in np.unique(labels))
    ]
    return np.sort(np.concatenate(kept))


def _book_rows(labels: np.ndarray, seed: int, shuffles: int) -> np.ndarray:
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


def _grouped_split(
    rows: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[object],
    shares: Sequence[float] | np.ndarray,
    seed: int,
) -> list[np.ndarray]:
    """Split by group, so that no group is on two sides, and evenly in each class."""
    members: dict[object, list[int]] = defaultdict(list)
    for row in rows.tolist():
        members[groups[row]].append(row)
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
