"""JSON: an object on each line, an array, or arrays under the names of parts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from gpt2_jax.config.data import LABEL_COLUMN, TEXT_COLUMN
from gpt2_jax.data.columns import match
from gpt2_jax.data.nested import alone, by_position, flat, under_ids, with_names
from gpt2_jax.data.parts import part_of
from gpt2_jax.data.profile import profile
from gpt2_jax.data.reading import Form, Reading
from gpt2_jax.data.row import Row, Rows
from gpt2_jax.errors import DataError
from gpt2_jax.storage.sealed import unique_keys

MAX_DOCUMENT = 1 << 30  # characters of one JSON document, which is read whole


def json_line(where: str, line: str, how: Reading) -> dict[str, Any]:
    """Return the object of a line; a string alone stands for its text column.

    A list of two is a text and its label.

    Raises:
        DataError: none of these, not JSON, or a key twice.
    """
    try:
        value = json.loads(line, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from None
    if isinstance(value, str):
        return {how.texts()[0]: value}
    if isinstance(value, list) and len(value) == 2:
        return dict(zip((TEXT_COLUMN, LABEL_COLUMN), value, strict=True))
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object")
    return flat(where, value)


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


def document_rows(text: Iterator[str], name: str, form: Form, how: Reading) -> Rows:
    """Return the rows of a JSON document.

    Known are an array of objects, of [text, label] pairs or of strings; such arrays
    under the names of parts, or objects under their ids; an array, or an object as of
    pandas, for each column; the names of columns and rows of values; texts under their
    labels; any of these alone under a name.

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
    rows = list(_rows(name, value, how))
    columns = list(dict.fromkeys(key for row in rows[:100] for key in row.values))
    return Rows(name, "entry", form, columns, iter(rows))


def _rows(name: str, value: Any, how: Reading) -> Iterator[Row]:
    if isinstance(value, list):
        yield from _entries(name, value, itertools.count(1), None, how)
        return
    value = alone(value)
    if not isinstance(value, dict):
        raise _unknown(name)
    by_key = bool(value) and all(isinstance(c, dict) for c in value.values())
    if by_key and under_ids(value, how):
        yield from _entries(name, list(value.values()), itertools.count(1), None, how)
        return
    if isinstance(names := value.get("columns"), list) and "data" in value:
        yield from _entries(
            name, with_names(name, names, value["data"]), itertools.count(1), None, how
        )
        return
    if by_key:
        value = by_position(name, value)
    arrays = {key: array for key, array in value.items() if isinstance(array, list)}
    if not arrays:
        raise _unknown(name)
    named = [key for key in (*how.texts(arrays), how.label) if match(key, [*arrays])]
    if by_key or named:
        yield from _columns(name, arrays)
    elif all(map(part_of, arrays)) or any(
        array and isinstance(array[0], (list, dict)) for array in arrays.values()
    ):
        yield from _parts(name, arrays, how)
    elif _under_labels(arrays):
        numbers = itertools.count(1)
        for label, texts in arrays.items():
            for text in texts:
                yield Row(next(numbers), {TEXT_COLUMN: text, LABEL_COLUMN: label})
    else:
        yield from _columns(name, arrays)


def _columns(name: str, arrays: dict[str, list[Any]]) -> Iterator[Row]:
    first = next(iter(arrays))
    for key, array in arrays.items():
        if len(array) != len(arrays[first]):
            raise DataError(
                f"{name}: the column {key!r} has {len(array)} values, but {first!r} "
                f"has {len(arrays[first])}; each row needs one of each"
            )
    for number, values in enumerate(zip(*arrays.values(), strict=True), start=1):
        yield Row(number, dict(zip(arrays, values, strict=True)))


def _under_labels(arrays: dict[str, list[Any]]) -> bool:
    """Are these texts under their labels, and not columns that are named otherwise?

    Columns are equally long, and one of them holds labels, numbers or ids.
    """
    if len({len(array) for array in arrays.values()}) > 1:
        return True
    seen = [profile(array) for array in arrays.values()]
    return len(arrays) > 1 and not any(c.is_label or c.ids >= 0.5 for c in seen)


def _parts(name: str, arrays: dict[str, list[Any]], how: Reading) -> Iterator[Row]:
    parts = {key: part_of(key) for key in arrays}
    unknown = [key for key, part in parts.items() if part is None]
    if unknown and len(arrays) > 1:
        raise DataError(
            f"{name}: {unknown[0]!r} is no part of a split; expected arrays under "
            "train, validation and test, or one array"
        )
    numbers = itertools.count(1)
    for key, array in arrays.items():
        yield from _entries(name, array, numbers, parts[key], how)


def _entries(
    name: str,
    array: list[Any],
    numbers: Iterator[int],
    part: str | None,
    how: Reading,
) -> Iterator[Row]:
    names, wanted = [TEXT_COLUMN, LABEL_COLUMN], [how.texts()[0], how.label]
    for place, value in enumerate(array):
        number = next(numbers)
        if place == 0 and value in (wanted, wanted[::-1]):
            names = value  # a header
        elif isinstance(value, dict):
            yield Row(number, flat(f"{name}, entry {number}", value), part)
        elif isinstance(value, str):
            yield Row(number, {TEXT_COLUMN: value}, part)
        elif isinstance(value, list) and len(value) == 2:
            yield Row(number, dict(zip(names, value, strict=True)), part)
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
