"""The texts that a caller gives: anything that holds one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def given_texts(texts: Iterable[str]) -> list[str]:
    """Return the strings of a list, a series, an array, or what gives each only once.

    Raises:
        TypeError: `texts` is one string or a table, or holds something else.
    """
    if is_table(texts):
        raise TypeError(
            "expected strings, got a table; give its column of texts, such as "
            "table['text']"
        )
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise TypeError(f"{_EXPECTED}, got {type(texts).__name__}")
    found = list(getattr(texts, "to_pylist", lambda: texts)())  # pyarrow's own scalars
    for place, text in enumerate(found):
        if not isinstance(text, str):
            raise TypeError(f"{_EXPECTED}; number {place} is {type(text).__name__}")
    return found


_EXPECTED = "expected strings one after another, such as ['a text']"


def is_table(value: Any) -> bool:
    """Is it a dict, or a table of pandas, polars, pyarrow or datasets?"""
    return isinstance(value, Mapping) or any(
        hasattr(value, name) for name in ("columns", "column_names")
    )
