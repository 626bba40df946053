"""JSON: an object on each line, an array, or arrays under the names of parts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from gpt2_jax.data.parts import part_of
from gpt2_jax.data.reading import Form, Reading
from gpt2_jax.data.row import Row, Rows
from gpt2_jax.errors import DataError
from gpt2_jax.storage.sealed import unique_keys

MAX_DOCUMENT = 1 << 30  # characters of one JSON document, which is read whole


def json_line(where: str, line: str, how: Reading) -> dict[str, Any]:
    """Return the object of a line; a string alone stands for its text column.

    Raises:
        DataError: neither, not JSON, or a key twice.
    """
    try:
        value = json.loads(line, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from None
    if isinstance(value, str):
        return {how.texts()[0]: value}
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object")
    return value


def json_lines(
    lines: Iterable[tuple[int, str]], rows: Rows, how: Reading
) -> Iterator[Row]:
    """Yield the rows of JSON lines; the columns of `rows` grow with them."""
    for number, line in lines:
        if not line.strip():
            rows.blank += 1
            continue
        where = f"{rows.name}, line {number}"
        values = json_line(where, line.removesuffix("\n"), how)
        if not rows.columns:
            rows.columns = list(values)
        yield Row(number, values)


def document_rows(text: Iterator[str], name: str, form: Form) -> Rows:
    """Return the rows of a JSON document.

    Known are an array of objects, of [text, label] pairs or of strings; such arrays
    under the names of parts; an array for each column; texts under their labels.

    Raises:
        DataError: it is none of these.
    """
    pieces, size = [], 0
    for piece in text:
        pieces.append(piece)
        size += len(piece)
        if size > MAX_DOCUMENT:
            raise DataError(
                f"{name}: a JSON document of more than {MAX_DOCUMENT >> 30} GiB; write "
                "an object on each line (.jsonl)"
            )
    try:
        value = json.loads("".join(pieces) or "[]", object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not JSON ({error})") from None
    rows = list(_rows(name, value))
    columns = list(dict.fromkeys(key for row in rows[:100] for key in row.values))
    return Rows(name, "entry", form, columns, iter(rows))


def _rows(name: str, value: Any) -> Iterator[Row]:
    if isinstance(value, list):
        yield from _entries(name, value, itertools.count(1), None)
        return
    if not isinstance(value, dict):
        raise _unknown(name)
    if value and all(isinstance(column, dict) for column in value.values()):
        value = {key: list(column.values()) for key, column in value.items()}
    arrays = {key: array for key, array in value.items() if isinstance(array, list)}
    if not arrays:
        raise _unknown(name)
    if any(array and isinstance(array[0], (list, dict)) for array in arrays.values()):
        yield from _parts(name, arrays)
    elif len({len(array) for array in arrays.values()}) == 1:
        for number, values in enumerate(zip(*arrays.values(), strict=True), start=1):
            yield Row(number, dict(zip(arrays, values, strict=True)))
    else:
        numbers = itertools.count(1)
        for label, texts in arrays.items():
            for text in texts:
                yield Row(next(numbers), {"text": text, "label": label})


def _parts(name: str, arrays: dict[str, list[Any]]) -> Iterator[Row]:
    parts = {key: part_of(key) for key in arrays}
    unknown = [key for key, part in parts.items() if part is None]
    if unknown and len(arrays) > 1:
        raise DataError(
            f"{name}: {unknown[0]!r} is no part of a split; expected arrays under "
            "train, validation and test, or one array"
        )
    numbers = itertools.count(1)
    for key, array in arrays.items():
        yield from _entries(name, array, numbers, parts[key])


def _entries(
    name: str, array: list[Any], numbers: Iterator[int], part: str | None
) -> Iterator[Row]:
    for value in array:
        number = next(numbers)
        if isinstance(value, dict):
            yield Row(number, value, part)
        elif isinstance(value, str):
            yield Row(number, {"text": value}, part)
        elif isinstance(value, list) and len(value) == 2:
            yield Row(number, {"text": value[0], "label": value[1]}, part)
        else:
            shown = json.dumps(value)[:40]
            raise DataError(
                f"{name}, entry {number}: {shown}; expected an object or [text, label]"
            )


def _unknown(name: str) -> DataError:
    return DataError(
        f"{name}: no texts in this JSON; expected an array of objects, or arrays under "
        "train, validation and test"
    )
