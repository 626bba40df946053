"""What a column looks like: texts, labels, ids or numbers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

ENOUGH = 10  # rows that a column is judged by

_LOOK = 1000  # characters of a value

NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?")

_ID = re.compile(
    r"(?=.*\d)(?:[A-Za-z]{0,4}[-_:]?\d{4,}|[0-9a-fA-F]{8,}|[0-9a-fA-F-]{32,40})"
)


@dataclasses.dataclass(frozen=True)
class Profile:
    """What a column looks like in a sample."""

    count: int
    distinct: int
    length: float  # characters, on average
    words: float
    numbers: float  # share of values that are numbers
    ids: float  # share that are numbers or ids
    empty: float
    nested: bool  # are there objects or lists of JSON in it?

    @property
    def is_text(self) -> bool:
        """Long free text, as many values as rows or nearly."""
        long = self.words >= 3 or self.length >= 8
        return (
            long
            and not self.nested
            and self.ids < 0.5
            and self.distinct > self.count / 2
        )

    @property
    def may_be_text(self) -> bool:
        """Is it not only ids, numbers, labels or nothing?"""
        free = self.words >= 2 or (self.length >= 8 and self.ids < 0.5)
        return free and not self.nested and not self.is_label

    @property
    def is_label(self) -> bool:
        """Few short values that come again."""
        few = self.distinct <= max(2, 0.7 * self.count) and self.distinct < self.count
        return few and self.length < 30 and self.words < 3.5 and self.empty < 0.5


def is_missing(value: object) -> bool:
    """Is it null, or the NaN that pandas writes for it?"""
    return value is None or value != value


def profile(values: Sequence[Any]) -> Profile:
    """Return the profile of the values of a column."""
    texts = [str(value)[:_LOOK].strip() for value in values if not is_missing(value)]
    full = [text for text in texts if text]
    count = max(1, len(full))
    numbers = sum(NUMBER.fullmatch(text) is not None for text in full)
    ids = sum(
        NUMBER.fullmatch(text) is not None or _ID.fullmatch(text) is not None
        for text in full
    )
    return Profile(
        count=len(full),
        distinct=len(set(full)),
        length=sum(map(len, full)) / count,
        words=sum(len(text.split()) for text in full) / count,
        numbers=numbers / count,
        ids=ids / count,
        empty=1 - len(full) / max(1, len(values)),
        nested=any(isinstance(value, (dict, list)) for value in values),
    )


def likely(table: Mapping[str, Sequence[Any]]) -> tuple[list[str], str | None]:
    """Return the columns that look like texts, and the likely one of the label."""
    seen = {name: profile(values) for name, values in table.items()}
    texts = [name for name, column in seen.items() if column.is_text]
    # A name or a place is none, where other columns hold whole sentences.
    texts = [name for name in texts if seen[name].words >= 2] or texts
    labels = [
        name for name, column in seen.items() if column.is_label and name not in texts
    ]
    named = [
        n for n in labels if re.search("label|class|categ|sentiment|intent", n, re.I)
    ]
    labels = named or [n for n in labels if seen[n].distinct > 1] or labels
    return texts, labels[0] if labels else None


def no_texts(table: Mapping[str, Sequence[Any]]) -> str:
    """Return that no column looks like texts, and where they may be instead."""
    nested = [name for name, values in table.items() if profile(values).nested]
    if nested:
        return (
            f"{', '.join(map(repr, nested))} holds lists: write the text, and the "
            "label, as a value of its own"
        )
    return (
        "no column looks like texts, only like ids, numbers or labels: get the texts "
        "themselves"
    )


def holds_no_texts(table: Mapping[str, Sequence[Any]]) -> bool:
    """Do all columns that can be judged hold ids, numbers or labels?"""
    columns = [profile(values) for values in table.values()]
    return all(not c.may_be_text for c in columns) and any(
        c.count >= ENOUGH for c in columns
    )


def several_labels(table: Mapping[str, Sequence[Any]]) -> str | None:
    """Return where rows have several labels, in one column or in many."""
    flags = [
        name
        for name, values in table.items()
        if len(values) >= ENOUGH and {str(v) for v in values} <= {"0", "1"}
    ]
    if len(flags) >= 3:
        return (
            f"multi-label data: the columns {', '.join(flags[:5])} are 0 or 1 each, "
            "and a text may have several; this classifier gives each text one label: "
            f"choose one of them with --label-column {flags[0]}"
        )
    return None
