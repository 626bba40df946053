"""Shapes of JSON: objects in objects, under ids, or as pandas writes its tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpt2_jax.data.columns import match
from gpt2_jax.data.reading import Reading
from gpt2_jax.errors import DataError
from gpt2_jax.storage.sealed import unique_keys

_MAX_DEPTH = 5  # of objects that are columns


def flat(where: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return an object whose own objects are columns: `{"a": {"b": 1}}` as `a.b`.

    Raises:
        DataError: a name stands twice then.
    """
    if not any(isinstance(value, dict) for value in values.values()):
        return values
    try:
        return unique_keys(list(_leaves(values)))
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None


def _leaves(values: dict[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{start}{key}"
        # An id may be any JSON value; whoever nests deeper has no texts there.
        if isinstance(value, dict) and name != "id" and name.count(".") < _MAX_DEPTH:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def alone(value: Any) -> Any:
    """Return what stands under the only name, or the only one in that, and so on."""
    while isinstance(value, dict) and len(value) == 1:
        (inner,) = value.values()
        if not isinstance(inner, dict) or not inner:
            break
        if not all(isinstance(each, (dict, list)) for each in inner.values()):
            break
        value = inner
    return value


def under_ids(value: dict[str, dict[str, Any]], how: Reading) -> bool:
    """Are these objects rows, each under its id, and not the columns of pandas?"""
    first = flat("", next(iter(value.values())))
    for columns, are_rows in ((value, False), (first, True)):
        if any(match(name, [*columns]) for name in (*how.texts(columns), how.label)):
            return are_rows
    return len(value) > len(first) and not all(map(str.isdecimal, first))


def with_names(name: str, names: list[Any], rows: Any) -> list[dict[str, Any]]:
    """Return rows of values as objects, as pandas splits them."""
    if not isinstance(rows, list) or not all(
        isinstance(row, list) and len(row) == len(names) for row in rows
    ):
        raise DataError(
            f"{name}: expected rows of {len(names)} values under 'data', one for each "
            "of 'columns'"
        )
    return [dict(zip(map(str, names), row, strict=True)) for row in rows]


def by_position(name: str, columns: dict[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the columns of pandas' to_json: each an object, a value for each row."""
    first, *others = columns
    for other in others:
        if odd := sorted(columns[first].keys() ^ columns[other].keys()):
            raise DataError(
                f"{name}: the row {odd[0]!r} stands in only one of the columns "
                f"{first!r} and {other!r}; write it in both"
            )
    return {
        key: [column[row] for row in columns[first]] for key, column in columns.items()
    }
