"""What every form of file is read as: rows of named values."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from gpt2_jax.data.reading import Form


class Row(NamedTuple):
    """One row: where it starts, and its values by column."""

    line: int
    values: dict[str, Any]
    part: str | None = None  # of a split that the file itself gives


@dataclasses.dataclass
class Rows:
    """The rows of one file, to be iterated once; what is counted fills on the way."""

    name: str  # of the file
    unit: str  # that rows are counted in: a row of text may have several lines
    form: Form
    columns: list[str]  # JSON lines: of the rows so far
    rows: Iterator[Row]
    header_line: int | None = None
    header: list[str] = dataclasses.field(default_factory=list)  # as it stands there
    twice: str | None = None  # a name that two columns have
    unnamed: list[str] = dataclasses.field(default_factory=list)
    blank: int = 0  # lines
    beyond: int = 0  # rows with text in an unnamed column
    notes: list[str] = dataclasses.field(default_factory=list)

    def where(self, row: Row) -> str:
        return f"{self.name}, {self.unit} {row.line}"

    def named(self, line: int, values: Sequence[Any]) -> Row:
        """Return the row of these values; text without a column's name is counted."""
        row = dict(zip(self.columns, values, strict=True))
        self.beyond += any(str(row[name]).strip() for name in self.unnamed)
        return Row(line, row)

    def all_notes(self) -> list[str]:
        """Return what was skipped, once all rows are read."""
        notes = list(self.notes)
        if self.blank:
            notes.append(f"{self.blank} blank lines skipped")
        if self.beyond:
            names = ", ".join(self.unnamed)
            notes.append(
                f"{self.beyond} rows have text in columns without a name ({names}), "
                "which is left out"
            )
        return notes


def name_columns(rows: Rows, names: Sequence[str]) -> None:
    """Set the columns of a header; those without a name are never asked for."""
    counts = Counter(names)
    rows.header = list(names)
    rows.columns = [
        name if name.strip() and counts[name] == 1 else f"{name}column {i}"
        for i, name in enumerate(names, start=1)
    ]
    rows.unnamed = [f"{n}column {i}" for i, n in enumerate(names, 1) if not n.strip()]
    rows.twice = next((n for n in names if n.strip() and counts[n] > 1), None)
