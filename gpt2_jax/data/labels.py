"""From the labels of a file to classes: renamed, cut at a number, ordered, not rare."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from gpt2_jax.config import DataConfig
from gpt2_jax.data import checks
from gpt2_jax.data.parts import part_of
from gpt2_jax.data.tables import Table
from gpt2_jax.data.typos import likely_typos
from gpt2_jax.errors import DataError

# More distinct values than this, some of them no whole numbers, are a measurement.
_MAX_NUMBERS = 10


def label_table(
    name: str, table: Table, config: DataConfig, *, to_train: bool = True
) -> Table:
    """Return `table` with the labels that `config` makes of those in the file.

    Raises:
        DataError: the labels are measurements, or a label to rename is not there; to
            train, one class alone, or labels with fewer texts than `rare_below`.
    """
    labels, notes = list(table.labels), []
    if config.label_threshold is not None:
        labels = _cut_at(name, labels, config.label_threshold)
    if config.rename_labels:
        known = sorted(set(labels))
        renames = _renames(name, config.rename_labels, known, strict=to_train)
        labels = [renames.get(label, label) for label in labels]
    if config.label_threshold is None:
        _refuse_measurements(name, labels)
    table = dataclasses.replace(table, labels=tuple(labels))
    rare = rare_labels(table.labels, table.parts, config.rare_below)
    if rare and config.rare == "drop":
        table = _without(table, set(rare))
        notes = [
            f"{sum(rare.values())} texts of {len(rare)} rare labels left out (--rare "
            f"drop): {_told(rare)}"
        ]
        rare = {}
    if to_train:
        _check_classes(name, table)
        if config.rare == "train" and table.parts is not None:
            raise DataError(
                f"{name}: has a split of its own, and --rare train would test on other "
                "texts; leave rare labels out with --rare drop, or omit it"
            )
        if rare and config.rare == "error" and table.parts is None:
            raise DataError(_rare_error(name, table, rare))
        if rare and config.rare == "error":
            notes = [
                f"rare labels in the training part: {_told(rare)}; leave them out with "
                "--rare drop"
            ]
        if rare and config.rare == "train":
            notes = [f"trained on only, as rare labels (--rare train): {_told(rare)}"]
    notes += [
        f"{typo!r} looks like {meant!r}: {checks.rename_flag(typo, meant)}"
        for typo, meant in likely_typos(Counter(table.labels)).items()
    ]
    return dataclasses.replace(table, notes=(*table.notes, *notes))


def order_classes(
    names: Iterable[str], stored: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the classes in order: numbers by value, other names as text.

    `stored` is the order that a run keeps; it stays, where the classes are the same.
    """
    found = set(names)
    if stored is not None and set(stored) == found:
        return tuple(stored)
    values = {name: _number(name) for name in found}
    if None not in values.values():
        return tuple(sorted(found, key=lambda name: (values[name], name)))
    return tuple(sorted(found))


def positive_class(
    name: str, classes: Sequence[str], labels: Sequence[int], positive: str | None
) -> str | None:
    """Return the class whose precision is told: the rarer of two, on a tie the second.

    With more classes it is None, unless one is named.

    Raises:
        DataError: `positive` is no class.
    """
    if positive is not None:
        if positive not in classes:
            raise DataError(
                f"{name}: --positive {positive!r} is not one of its labels "
                f"{checks.shortened(classes)}"
            )
        return positive
    if len(classes) != 2:
        return None
    counts = np.bincount(np.asarray(labels, np.int64), minlength=2)
    return classes[0] if counts[0] < counts[1] else classes[1]


def rare_labels(
    labels: Sequence[str], parts: Sequence[str] | None, below: int
) -> dict[str, int]:
    """Return the labels with fewer texts than `below`, and how many each has.

    Where training texts are told apart, only these count.
    """
    counts = dict.fromkeys(sorted(set(labels)), 0)
    for row, label in enumerate(labels):
        if parts is None or part_of(parts[row]) == "train":
            counts[label] += 1
    return {label: count for label, count in counts.items() if count < below}


def _number(label: str) -> float | None:
    if not re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", label.strip()):
        return None
    value = float(label)
    return value if math.isfinite(value) else None


def _cut_at(name: str, labels: Sequence[str], threshold: float) -> list[str]:
    low, high = f"<{threshold:g}", f">={threshold:g}"
    cut = []
    for row, label in enumerate(labels, start=1):
        value = _number(label)
        if value is None:
            raise DataError(
                f"{name}: --label-threshold needs numbers as labels, but that of text "
                f"{row} is {label[:40]!r}"
            )
        cut.append(high if value >= threshold else low)
    return cut


def _renames(
    name: str, given: Sequence[str], known: Sequence[str], *, strict: bool
) -> dict[str, str]:
    """Return {old: new}; where a name holds "=" itself, the old one must be a label.

    Not strict, what a run renamed need not be in the texts that it is measured on.
    """
    renames = {}
    for rename in given:
        cuts = [i for i, c in enumerate(rename) if c == "="]
        cut = next((i for i in cuts if rename[:i] in known), None)
        if cut is None and not strict:
            continue
        if cut is None:
            old = rename.partition("=")[0]
            near = difflib.get_close_matches(old, known, 3, 0.5) or known
            raise DataError(
                f"{name}: --rename-label {rename}: no text has the label {old!r}; "
                f"there are {checks.shortened(near)}"
            )
        if not rename[cut + 1 :]:
            raise DataError(f"{name}: --rename-label {rename}: the new name is empty")
        if rename[:cut] in renames:
            raise DataError(
                f"{name}: --rename-label {rename}: {rename[:cut]!r} is renamed to "
                f"{renames[rename[:cut]]!r} already; keep one of them"
            )
        renames[rename[:cut]] = rename[cut + 1 :]
    return renames


def _refuse_measurements(name: str, labels: Sequence[str]) -> None:
    distinct = set(labels)
    values = [_number(label) for label in distinct]
    if len(distinct) <= _MAX_NUMBERS or None in values:
        return
    known = [value for value in values if value is not None]
    if any(value != round(value) for value in known):
        low, high = min(known), max(known)
        raise DataError(
            f"{name}: the labels are {len(distinct)} numbers from {low:g} to {high:g}, "
            "a measurement and no classes; make two classes of them with "
            f"--label-threshold {(low + high) / 2:g}, or name another --label-column"
        )


def _check_classes(name: str, table: Table) -> None:
    found = set(table.labels)
    if len(found) < 2:
        only = f"only one class, {table.labels[0]!r}, in" if found else "no class in"
        raise DataError(
            f"{name}: {only} {len(table.labels)} texts; a classifier needs two"
        )


def _rare_error(name: str, table: Table, rare: Mapping[str, int]) -> str:
    told = []
    for label, count in rare.items():
        row = table.labels.index(label) + 1
        told.append(
            f"the label {label!r} is seen once (text {row})"
            if count == 1
            else f"{label!r} {count} times"
        )
    counts = Counter(table.labels)
    near = [
        f"{typo!r} looks like {meant!r}: {checks.rename_flag(typo, meant)}"
        for typo, meant in likely_typos(counts).items()
    ]
    near += checks.near_duplicate_labels(sorted(counts))
    return (
        f"{name}: {', '.join(told)}, too few to be both trained and tested; leave such "
        "labels out with --rare drop, only train on them with --rare train, or add "
        "texts" + "".join(f" ({note})" for note in near)
    )


def _without(table: Table, dropped: set[str]) -> Table:
    rows = [row for row, label in enumerate(table.labels) if label not in dropped]

    def kept(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(values[row] for row in rows)

    return dataclasses.replace(
        table,
        texts=kept(table.texts),
        labels=kept(table.labels),
        groups=table.groups and kept(table.groups),
        parts=table.parts and kept(table.parts),
    )


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label!r} ({count})" for label, count in counts.items())
