"""Labelled texts with a fingerprint, and what is odd about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gpt2_jax.data import checks
from gpt2_jax.data.labels import order_classes
from gpt2_jax.data.parts import PARTS, part_of
from gpt2_jax.data.reading import Understood
from gpt2_jax.data.tables import Table
from gpt2_jax.errors import DataError


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Labelled texts with a fingerprint."""

    name: str
    sha256: str  # of the file that was read
    texts: tuple[str, ...]
    labels: tuple[int, ...]  # indices into `classes`
    classes: tuple[str, ...]  # label names, in order
    groups: tuple[str, ...] | None
    notes: tuple[str, ...]
    parts: tuple[str, ...] | None = None  # of each text, where the split is given
    understood: Understood | None = None  # how a file was read


def make_dataset(
    name: str, sha256: str, table: Table, classes: Sequence[str] | None = None
) -> Dataset:
    """Return a dataset of a table; its classes are in order, or in that of a run.

    Raises:
        DataError: a part of its split has no name that is known.
    """
    classes = order_classes(table.labels, classes)
    index = {label: i for i, label in enumerate(classes)}
    labels = tuple(index[label] for label in table.labels)
    found = checks.near_duplicate_labels(classes)
    found += checks.conflicting_texts(table.texts, labels)
    return Dataset(
        name=name,
        sha256=sha256,
        texts=table.texts,
        labels=labels,
        classes=classes,
        groups=table.groups,
        notes=(*table.notes, *found),
        parts=_known_parts(name, table.parts),
        understood=table.understood,
    )


def _known_parts(name: str, given: Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    unknown = sorted({part for part in given if part_of(part) is None})
    if unknown:
        raise DataError(
            f"{name}: the split of a text is {unknown[0]!r}; expected "
            f"{', '.join(PARTS)} in the column of --split-column"
        )
    return tuple(part_of(part) or "" for part in given)
