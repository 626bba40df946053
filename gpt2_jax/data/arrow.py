"""Parquet and Arrow files, through pyarrow (the extra `data`)."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from pathlib import PurePath
from typing import Any

from gpt2_jax.data.columns import match
from gpt2_jax.data.reading import Form, Reading
from gpt2_jax.data.row import Row, Rows
from gpt2_jax.errors import DataError, DeviceError

SUFFIXES = (".parquet", ".arrow")

_BATCH = 1024  # rows that are held at once


def open_arrow(stream: Any, name: str, how: Reading, *, labelled: bool) -> Rows:
    """Return the rows of an open file; where all columns that are asked for are there,
    no others are read.

    A number that stands for a class, as Hugging Face's datasets keep it (ClassLabel),
    becomes the class's name.

    Raises:
        DeviceError: pyarrow is not installed.
        DataError: the file is damaged, or a number stands for no class.
    """
    suffix = PurePath(name).suffix.lower()
    try:
        importlib.import_module("pyarrow")
    except ImportError:
        raise DeviceError(
            f"{name}: {suffix} needs the extra: pip install 'gpt2-jax[data]'"
        ) from None
    with _errors(name):
        schema, batches = _open(stream, suffix)
    names: list[str] = list(schema.names)
    wanted = how.wanted(names, labelled=labelled).values()
    asked = [match(column, names) for columns in wanted for column in columns]
    asked += ["id"] if "id" in names else []
    keep = names if how.whole or None in asked else list(dict.fromkeys(map(str, asked)))
    keep = [column for column in keep if names.count(column) == 1]
    twice = [column for column, count in Counter(names).items() if count > 1]
    return Rows(
        name=name,
        unit="row",
        form=Form(suffix[1:]),
        columns=names,
        rows=_rows(name, batches(keep), _class_names(schema)),
        twice=twice[0] if twice else None,
    )


def _open(stream: Any, suffix: str) -> tuple[Any, Any]:
    """Return the schema, and a function of columns that gives batches."""
    import pyarrow.ipc
    import pyarrow.parquet

    if suffix == ".parquet":
        file = pyarrow.parquet.ParquetFile(stream)
        return file.schema_arrow, lambda columns: file.iter_batches(
            _BATCH, columns=columns
        )
    reader = pyarrow.ipc.open_stream(stream)
    return reader.schema, lambda columns: (batch.select(columns) for batch in reader)


def _rows(name: str, batches: Any, classes: dict[str, list[str]]) -> Iterator[Row]:
    number = 0
    while True:
        with _errors(name):
            batch = next(batches, None)
            if batch is None:
                return
            found = batch.to_pylist()
        for values in found:
            number += 1
            for column, names in classes.items():
                if column in values:
                    values[column] = class_name(
                        name, number, column, values[column], names
                    )
            yield Row(number, values)


@contextlib.contextmanager
def _errors(name: str) -> Generator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name}: cannot be read ({reason})") from None


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Return the names of the classes of each ClassLabel column, if it has any."""
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = metadata.get("info", {}).get("features") or {}
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def class_name(
    path: str, number: int, column: str, value: Any, names: Sequence[str]
) -> str:
    """Return the class that the number `value` stands for.

    Raises:
        DataError: it stands for none.
    """
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise DataError(
            f"{path}, row {number}: {column!r} is {value}, which is none of the "
            f"{len(names)} classes; an unlabelled part cannot be used"
        )
    return names[value]
