"""Several tables as one: parts of a split, files of one kind, archives."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from gpt2_jax.data.columns import UnlabelledError
from gpt2_jax.data.parts import part_of
from gpt2_jax.data.reading import count_labels
from gpt2_jax.data.tables import Table
from gpt2_jax.errors import DataError

T = TypeVar("T")
Named = tuple[str | None, str, T]  # part of a split, name, whatever is read


def part_of_file(name: str) -> str | None:
    """Return which part a file is, by the first word of its name."""
    return part_of(re.split(r"[-_.]", name)[0])


def read_labelled_ones(
    files: Sequence[Named[T]], read: Callable[[T], Table]
) -> list[tuple[str | None, Table]]:
    """Read each file; those without a label column beside labelled ones are left out.

    Raises:
        DataError: one cannot be read, or none has labels.
    """
    tables: list[tuple[str | None, Table]] = []
    left_out: list[UnlabelledError] = []
    for part, name, file in files:
        try:
            tables.append((part, read(file)))
        except UnlabelledError as error:
            error.name = name
            left_out.append(error)
    if not tables:
        raise left_out[0]
    if left_out:
        notes = [f"left out, as it has no labels: {e.name}" for e in left_out]
        part, first = tables[0]
        tables[0] = part, dataclasses.replace(first, notes=(*first.notes, *notes))
    return tables


def join(name: str, tables: Sequence[tuple[str | None, Table]]) -> Table:
    """Return the texts of all `tables`, each with its part, if it has one.

    Raises:
        DataError: files that are parts have a split of their own.
    """
    texts, labels, groups, parts, notes, own = [], [], [], [], [], []
    for part, table in tables:
        texts += table.texts
        labels += table.labels
        groups += table.groups or ()
        parts += [part] * len(table.texts)
        notes += table.notes
        own += table.parts or ()
    named = tables[0][0] is not None
    if named and own:
        raise DataError(f"{name}: its files are a split; omit --split-column")
    if own and any(table.parts is None for _, table in tables):
        raise DataError(f"{name}: only some of its files have a split of their own")
    understood = tables[0][1].understood
    if understood is not None:
        understood = dataclasses.replace(
            understood, labels=count_labels(labels), more=len(tables) - 1
        )
    return Table(
        texts=tuple(texts),
        labels=tuple(labels),
        groups=tuple(groups) or None,
        notes=tuple(notes),
        parts=tuple(parts) if named else tuple(own) or None,
        understood=understood,
    )
