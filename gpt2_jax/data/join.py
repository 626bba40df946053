"""Several tables as one: parts of a split, files of one kind, archives."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from gpt2_jax.data import content
from gpt2_jax.data.checks import shortened
from gpt2_jax.data.columns import UnlabelledError
from gpt2_jax.data.parts import PARTS, part_of
from gpt2_jax.data.reading import count_labels
from gpt2_jax.data.rows import kind_of
from gpt2_jax.data.tables import Table
from gpt2_jax.errors import DataError

T = TypeVar("T")
Named = tuple[str | None, str, T]  # part of a split, name, whatever is read


def part_of_file(name: str) -> str | None:
    """Return which part a file is, by the first word of its name."""
    return part_of(re.split(r"[-_.]", name)[0])


def choose_files(
    where: str, files: Sequence[tuple[str, T]], *, named: bool = False
) -> tuple[list[Named[T]], list[str]]:
    """Return the files to read, each with its part, and a note on those left out.

    Where some files of a folder or an archive are named after parts of a split, these
    are read. All those that the user `named` are; they are parts if all of them are,
    of more than one.

    Raises:
        DataError: a file stands there twice, also packed or in another form; the user
            named parts and others.
    """
    parts = [part_of_file(os.path.basename(name)) for name, _ in files]
    chosen = [(part, *file) for part, file in zip(parts, files, strict=True)]
    others = [name for part, name, _ in chosen if part is None]
    known = sorted({part for part in parts if part is not None}, key=PARTS.index)
    if not named:
        if not known:
            return chosen, []
        chosen = [file for file in chosen if file[0] is not None]
        _refuse_two_kinds(where, chosen)
    elif others and len(known) > 1:
        raise DataError(
            f"{where}: {others[0]} is named after no part of a split, beside files "
            f"that are; leave it out, or name it {known[0]}-NAME"
        )
    there: dict[str, str] = {}
    for _, name, _ in chosen:
        stem = _stem(name, named=named)
        if stem in there:
            raise DataError(
                f"{where}: {there[stem]} and {name} look like the same texts twice; "
                "leave one out, or rename it where it holds others"
            )
        there[stem] = name
    if named:
        split = len(known) > 1
        return [(part if split else None, n, f) for part, n, f in chosen], []
    note = f"left out, as named after no part of a split: {shortened(others)}"
    return chosen, [note] if others else []


def _refuse_two_kinds(where: str, files: Sequence[Named[T]]) -> None:
    for part in PARTS:
        kinds = sorted({kind_of(name) or "" for p, name, _ in files if p == part})
        if len(kinds) > 1:
            raise DataError(
                f"{where}: the {part} part is there as {' and '.join(kinds)}; keep one"
            )


def _stem(name: str, *, named: bool) -> str:
    """Return what the same file has in any form; where the user named it, its place."""
    stem = os.path.abspath(name) if named else os.path.basename(name)
    suffix, packing = content.suffixes(name)
    stem = stem[: len(stem) - len(packing)]
    return stem[: len(stem) - len(suffix)] if kind_of(name) is not None else stem


def read_labelled_ones(
    files: Sequence[Named[T]], read: Callable[[T], Table], notes: Sequence[str] = ()
) -> list[tuple[str | None, Table]]:
    """Read each file; those without a label column beside labelled ones are left out.

    The first table is given the `notes` on all of them.

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
    notes = [
        *notes,
        *(f"left out, as it has no labels: {error.name}" for error in left_out),
    ]
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
