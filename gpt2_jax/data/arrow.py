"""Parquet and Arrow files, through pyarrow (the extra `data`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt2_jax.errors import DataError, DeviceError

SUFFIXES = (".parquet", ".arrow")


def read_arrow(path: Path, columns: Sequence[str]) -> tuple[list[str], list[Any]]:
    """Return the names of all columns, and a dict of `columns` for each row.

    A column that is not there is left out of the rows. A number that stands for a
    class, as Hugging Face's datasets keep it (ClassLabel), becomes the class's name.

    Raises:
        DeviceError: pyarrow is not installed.
        DataError: the file is damaged, or a number stands for no class.
    """
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise DeviceError(
            f"{path}: {path.suffix} needs the extra: pip install 'gpt2-jax[data]'"
        ) from None
    try:
        if path.suffix == ".parquet":
            schema = pyarrow.parquet.read_schema(path)
            table = pyarrow.parquet.read_table(path, columns=_once(columns, schema))
        else:
            with pyarrow.memory_map(str(path)) as file:
                schema = pyarrow.ipc.open_stream(file).schema
                file.seek(0)
                table = pyarrow.ipc.open_stream(file).read_all()
            table = table.select(_once(columns, schema))
        rows = table.to_pylist()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read ({reason})") from None
    for column, names in _class_names(schema).items():
        for number, row in enumerate(rows, start=1):
            if column in row:
                row[column] = _name(path, number, column, row[column], names)
    return list(schema.names), rows


def _once(columns: Sequence[str], schema: Any) -> list[str]:
    """Return those of `columns` that stand in the file, and once."""
    return [name for name in columns if schema.names.count(name) == 1]


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Return the names of the classes of each ClassLabel column, if it has any."""
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = metadata.get("info", {}).get("features") or {}
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _name(path: Path, number: int, column: str, value: Any, names: list[str]) -> str:
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise DataError(
            f"{path}, row {number}: {column!r} is {value}, which is none of the "
            f"{len(names)} classes; an unlabelled part cannot be used"
        )
    return names[value]
