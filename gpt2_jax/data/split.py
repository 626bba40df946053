"""Which rows are used, and which of them train, validate and test."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from gpt2_jax.config import BOOK_SPLITS, DataConfig
from gpt2_jax.data import checks
from gpt2_jax.data.balance import BALANCED, describe_balance
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.parts import PARTS
from gpt2_jax.data.sample import book_rows, few_of_each, share_out, undersample
from gpt2_jax.data.too_few import lacks_classes
from gpt2_jax.errors import DataError


@dataclasses.dataclass(frozen=True)
class Split:
    """Row numbers of a dataset, int64 each."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    dropped: int  # rows left out: to balance the classes, or texts that stand twice
    notes: tuple[str, ...] = ()
    balanced: bool = False  # validation and test too

    def parts(self) -> dict[str, np.ndarray]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split_dataset(dataset: Dataset, config: DataConfig) -> Split:
    """Balance and split `dataset`, as a function of `config` alone.

    Raises:
        DataError: a part without rows, or a class that the training part lacks.
    """
    labels = np.asarray(dataset.labels)
    rows = np.arange(len(labels))
    if config.book:
        parts, notes = _book_split(dataset, labels, config), [BALANCED]
    else:
        if config.drop_duplicates:
            rows = checks.distinct_rows(dataset.texts, dataset.parts)
        if config.limit is not None and config.limit < len(rows):
            rows = _limited(dataset, rows, config)
        if config.folds is not None and dataset.parts is not None:
            raise DataError(
                f"{dataset.name}: has a split of its own; omit --folds, or name one "
                "file of it with --data"
            )
        split = _own_split if dataset.parts is None else _given_split
        parts, notes = split(dataset, labels, rows, config)
    named: dict[str, np.ndarray] = dict(zip(PARTS, parts, strict=True))
    if config.shots is not None:
        train = named["train"]
        picked = few_of_each(labels[train], config.shots, config.split_seed)
        named["train"] = train[picked]
    if config.unseen:
        trained = {dataset.texts[row] for row in named["train"]}
        for name in ("validation", "test"):
            seen = [dataset.texts[row] in trained for row in named[name]]
            named[name] = named[name][~np.asarray(seen, bool)]
    for name, part in named.items():
        lacking = sorted(set(range(len(dataset.classes))) - set(labels[part].tolist()))
        if not len(part) or (lacking and name == "train"):
            raise DataError(lacks_classes(dataset, labels, rows, name, lacking, config))
        if lacking:
            names = checks.shortened([dataset.classes[index] for index in lacking])
            notes.append(f"the {name} part holds no text of {names}")
    notes += checks.shared_texts(dataset.texts, named)
    return Split(
        **named,
        dropped=len(labels) - sum(map(len, named.values())),
        notes=tuple(notes),
        balanced=BALANCED in notes,
    )


def _book_split(
    dataset: Dataset, labels: np.ndarray, config: DataConfig
) -> list[np.ndarray]:
    if dataset.parts is not None:
        raise DataError(
            f"{dataset.name}: has a split of its own; omit --preset book, which splits "
            "at random"
        )
    counts = np.bincount(labels)
    if len(counts) != 2 or counts[0] < counts[1]:
        raise DataError(
            f"{dataset.name}: the book's sampling needs two classes, the first in "
            "the majority (ham, spam); omit --preset book"
        )
    shuffles = 1 + BOOK_SPLITS.index(config.book_split)
    rows = book_rows(labels, config.split_seed, shuffles)
    sizes = np.cumsum([int(part * len(rows)) for part in config.split[:2]])
    return np.split(rows, sizes)


def _limited(dataset: Dataset, rows: np.ndarray, config: DataConfig) -> np.ndarray:
    """Return `config.limit` of `rows`: each class has its share of each given part."""
    assert config.limit is not None
    parts = dataset.parts or ("",) * len(dataset.labels)
    strata = [(parts[row], dataset.labels[row]) for row in rows.tolist()]
    if config.limit < (least := len(set(strata))):
        raise DataError(
            f"{dataset.name}: --limit {config.limit} is too few for "
            f"{len(dataset.classes)} classes in each part; give {least} or more"
        )
    return rows[share_out(strata, config.limit, config.split_seed)]


def _own_split(
    dataset: Dataset, labels: np.ndarray, rows: np.ndarray, config: DataConfig
) -> tuple[list[np.ndarray], list[str]]:
    groups = _groups(dataset, config)
    rare = _rare_rows(dataset, labels, rows, groups, config)
    rows = np.setdiff1d(rows, rare)
    notes = describe_balance(labels[rows], dataset.classes, config.balance, given=False)
    if config.balance == "undersample" and len(rows):
        rows = rows[undersample(labels[rows], config.split_seed)]
    if config.folds is not None:
        parts = _cut_fold(rows, labels, groups, config)
    else:
        parts = _grouped_split(rows, labels, groups, config.split, config.split_seed)
    parts[0] = np.sort(np.concatenate([parts[0], rare]))
    return parts, notes


def _cut_fold(
    rows: np.ndarray, labels: np.ndarray, groups: Sequence[object], config: DataConfig
) -> list[np.ndarray]:
    """Return the parts where one of the folds is the test part."""
    assert config.folds is not None
    seed = config.split_seed + config.fold_repeat
    even = np.full(config.folds, 1 / config.folds)
    folds = _grouped_split(rows, labels, groups, even, seed)
    test = folds.pop(config.fold)
    shares = np.asarray(config.split[:2])
    rest = np.sort(np.concatenate(folds))
    return [*_grouped_split(rest, labels, groups, shares / shares.sum(), seed), test]


def _rare_rows(
    dataset: Dataset,
    labels: np.ndarray,
    rows: np.ndarray,
    groups: Sequence[object],
    config: DataConfig,
) -> np.ndarray:
    """Return the rows that are only trained on: those of rare labels, whole groups."""
    if config.rare != "train":
        return rows[:0]
    rare = np.bincount(labels) < config.rare_below
    held = {groups[row] for row in rows if rare[labels[row]]}
    return np.asarray([row for row in rows if groups[row] in held], np.int64)


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
    train = parts["train"]
    notes += describe_balance(
        labels[train], dataset.classes, config.balance, given=True
    )
    if config.balance == "undersample":
        parts["train"] = train[undersample(labels[train], config.split_seed)]
    return list(parts.values()), notes


def _groups(dataset: Dataset, config: DataConfig) -> Sequence[object]:
    """Return the group of each row of `dataset`; rows of one stay on one side."""
    if not config.group:
        return range(len(dataset.labels))
    return dataset.groups if dataset.groups is not None else dataset.texts


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
