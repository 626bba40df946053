"""Columns that are not used, though they may have been meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt2_jax.data.parts import is_part
from gpt2_jax.data.profile import profile
from gpt2_jax.data.row import Row


def others_like_text(
    sample: Sequence[Row], used: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return the columns that look like texts too, and are not used."""
    seen = {name: profile(values) for name, values in _unused(sample, used).items()}
    return [
        name
        for name, column in seen.items()
        if column.is_text and column.words >= 3 and column.count > len(sample) / 2 >= 3
    ]


def others_like_parts(
    sample: Sequence[Row], used: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return the columns that hold the names of parts of a split, and are not used."""
    return [
        name
        for name, values in _unused(sample, used).items()
        if len(values) >= 3 and all(is_part(str(value)) for value in values)
    ]


def _unused(
    sample: Sequence[Row], used: Mapping[str, Sequence[str]]
) -> dict[str, list[Any]]:
    names = {name for names in used.values() for name in names}
    columns = dict.fromkeys(name for row in sample for name in row.values)
    return {
        name: [row.values.get(name) for row in sample]
        for name in columns
        if name not in names
    }
