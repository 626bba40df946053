"""Labelled texts that are in memory: lists, arrays, series and tables of any library.

None of these libraries is imported: a table is what has named columns, a column is what
gives its values one after another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpt2_jax.config import DataConfig
from gpt2_jax.config.data import LABEL_COLUMN, TEXT_COLUMN
from gpt2_jax.data.arrow import class_name
from gpt2_jax.data.checks import shortened
from gpt2_jax.data.content import MEMORY
from gpt2_jax.data.entries import Entries
from gpt2_jax.data.join import join
from gpt2_jax.data.parts import part_of
from gpt2_jax.data.reading import Form, Reading
from gpt2_jax.data.row import Row, Rows
from gpt2_jax.data.tables import Table, table_of
from gpt2_jax.data.unused import OF_FILES, refuse_said
from gpt2_jax.errors import DataError

_COLUMNS = ("text_column", "join", "label_column", "group_column", "split_column")
_OTHERS = tuple(name for name in OF_FILES if name not in _COLUMNS)


def read_memory(given: Any, config: DataConfig, how: Reading) -> tuple[Table, str]:
    """Read `(texts, labels)`, a table, or these under the names of parts.

    A table has its columns as a file does. A number of a ClassLabel column (datasets)
    becomes the class's name. Returns the SHA-256 of the rows too.

    Raises:
        DataError: it is none of these, or as `tables.read_table`.
    """
    parts, left_out = _parts(given)
    if any(_is_pair(value) for _, value in parts):
        why = "texts and labels, which have no columns"
        refuse_said(MEMORY, why, OF_FILES, config)
    refuse_said(MEMORY, "a table, and no file", _OTHERS, config)
    tables = [
        (part, table_of(Entries(_rows(part, value), how, labelled=True)))
        for part, value in parts
    ]
    table = tables[0][1] if tables[0][0] is None else join(MEMORY, tables)
    if left_out:
        told = f"left out, as named after no part of a split: {shortened(left_out)}"
        table = dataclasses.replace(table, notes=(*table.notes, told))
    rows = json.dumps([table.texts, table.labels, table.groups, table.parts])
    return table, hashlib.sha256(rows.encode()).hexdigest()


def _parts(given: Any) -> tuple[list[tuple[str | None, Any]], list[str]]:
    """Return each part and its name, None where there is one; and names left out."""
    if not isinstance(given, Mapping) or not given:
        return [(None, given)], []
    whole = all(_is_pair(v) or column_names(v) is not None for v in given.values())
    if not whole:  # a table: a dict of columns
        return [(None, given)], []
    named = [(part_of(str(name)), name) for name in given]
    if len({part for part, _ in named if part}) < len([p for p, _ in named if p]):
        raise DataError(
            f"{MEMORY}: two names of one part in {shortened([*map(str, given)])}"
        )
    found: list[tuple[str | None, Any]] = [
        (part, given[name]) for part, name in named if part is not None
    ]
    if not found:
        raise DataError(
            f"{MEMORY}: {shortened([*map(str, given)])} name no part of a split; "
            "expected train, validation and test"
        )
    return found, [str(name) for part, name in named if part is None]


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def column_names(value: Any) -> list[Any] | None:
    """Return the names of a table's columns; None: it is no table."""
    if isinstance(value, Mapping):
        return list(value)
    for name in ("column_names", "columns"):  # of pyarrow `columns` are the values
        if (found := getattr(value, name, None)) is not None:
            return list(found)
    return None


def _rows(part: str | None, value: Any) -> Rows:
    where = MEMORY if part is None else f"{MEMORY}, {part}"
    names = column_names(value)
    if _is_pair(value):
        pairs = zip((TEXT_COLUMN, LABEL_COLUMN), value, strict=True)
        columns = {name: plain_values(where, name, values) for name, values in pairs}
    elif names is not None:
        columns = {str(n): _column(where, value, n) for n in dict.fromkeys(names)}
    else:
        raise DataError(
            f"{where}: expected (texts, labels), or a table with a column of each; got "
            f"{type(value).__name__}"
        )
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{size} of {name!r}" for name, size in sizes.items())
        raise DataError(f"{where}: not equally many values: {told}")
    names = list(map(str, names or columns))
    twice = next((name for name in names if names.count(name) > 1), None)
    rows = _numbered(columns)
    return Rows(where, "row", Form("memory"), names, rows, twice=twice)


def _numbered(columns: Mapping[str, Sequence[Any]]) -> Iterator[Row]:
    for number, values in enumerate(zip(*columns.values(), strict=True), start=1):
        yield Row(number, dict(zip(columns, values, strict=True)))


def _column(where: str, table: Any, name: Any) -> list[Any]:
    values = plain_values(where, str(name), table[name])
    features = getattr(table, "features", None)  # of datasets
    names = getattr(features[name], "names", None) if features else None
    if names is None:
        return values
    return [
        class_name(where, number, str(name), value, names)
        for number, value in enumerate(values, start=1)
    ]


def plain_values(where: str, name: str, values: Any) -> list[Any]:
    """Return the values of a column as Python's own; what pandas has for none is None.

    Raises:
        DataError: it is one string, or nothing that has values.
    """
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise DataError(
            f"{where}: {name!r} is {type(values).__name__}; expected its values one "
            "after another"
        )
    for way in ("to_pylist", "to_list", "tolist"):  # pyarrow; pandas, polars; numpy
        if hasattr(values, way):
            values = getattr(values, way)()
            break
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value.item() if isinstance(value, np.generic) else value
