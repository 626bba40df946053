"""Texts with what belongs to them, from rows: the same for every command."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from gpt2_jax.data.columns import SAMPLE_ROWS, ColumnsError, quoted, resolve
from gpt2_jax.data.encodings import EncodingError
from gpt2_jax.data.profile import is_missing
from gpt2_jax.data.reading import Reading, Understood, shortened
from gpt2_jax.data.row import Row, Rows
from gpt2_jax.data.unused_columns import others_like_parts, others_like_text
from gpt2_jax.errors import DataError
from gpt2_jax.progress import bar


class SeveralLabelsError(DataError):
    """A text has several labels, or none, in `column`."""

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


class Entry(NamedTuple):
    """One text."""

    line: int
    text: str
    id: Any = None  # any JSON value; None: its input gave it none
    label: str | None = None
    group: str | None = None
    part: str | None = None


class Entries:
    """The texts of rows, to be iterated once; `row` is that of the last one.

    Raises:
        DataError: a column is not there, or holds what cannot be meant; while it is
            iterated: a row that holds no text, or no rows at all.
    """

    row: Row

    def __init__(self, rows: Rows, how: Reading, *, labelled: bool) -> None:
        self.rows, self.how, self._labelled = rows, how, labelled
        self.sample, self._failed = _first(rows)
        self.columns: dict[str, tuple[str, ...]] = {}
        self.example: dict[str, Any] = {}  # the values of the first row
        self.text_like: list[str] = []  # columns beside those of the text
        self.part_like: list[str] = []  # columns that may give a split
        if self.sample:
            self.example = dict(self.sample[0].values)
            try:
                self.columns = resolve(rows, self.sample, how, labelled=labelled)
            except ColumnsError as error:
                if not isinstance(self._failed, EncodingError):
                    raise
                # Both at once, so that the next command is right.
                both = f"{error}. Besides, {self._failed}"
                raise ColumnsError(both, error.advice) from None
            self.text_like = others_like_text(self.sample, self.columns)
            self.part_like = others_like_parts(self.sample, self.columns)

    def understood(self) -> Understood:
        """Return how the rows are read; the counts of labels are not known yet."""
        rows = self.rows
        used = [name for names in self.columns.values() for name in names]
        return Understood(
            name=rows.name,
            form=rows.form,
            columns=tuple(
                (role, name, shortened(_alone(self.example.get(name, ""))))
                for role, names in self.columns.items()
                for name in names
            ),
            unused=tuple(
                name
                for name in rows.columns
                if name not in used and name not in rows.unnamed
            ),
        )

    def left_out(self) -> list[str]:
        """Return a note for each column that looks like text too."""
        return [
            f"the column {other!r} looks like text too and is left out; add it with "
            f"--text-column {quoted(self.columns['text'][0])} --text-column "
            f"{quoted(other)}"
            for other in self.text_like
        ]

    def __iter__(self) -> Iterator[Entry]:
        rows = self.rows
        if not self.sample and self._failed is None:
            texts = "labelled texts" if self._labelled else "texts"
            header = "a header and " if self._labelled else ""
            what = (
                f"a header but no rows; add {texts}"
                if rows.columns and rows.form.kind != "lines"
                else f"empty; expected {header}{texts}"
            )
            raise DataError(f"{rows.name}: no texts ({what})")
        left = self._left()
        for row in left:
            try:
                yield self._entry(row)
            except SeveralLabelsError as error:
                raise DataError(
                    f"{error}{_count_several(left, error.column)}"
                ) from None

    def _left(self) -> Iterator[Row]:
        sample, self.sample = self.sample, []
        yield from sample
        if self._failed is not None:
            raise self._failed
        with bar(None, f"reading {self.rows.name}", "rows", done=len(sample)) as shown:
            for row in self.rows.rows:
                yield row
                shown.update()

    def _entry(self, row: Row) -> Entry:
        self.row = row
        where = self.rows.where(row)
        values = {
            role: [self._value(where, row, role, name) for name in names]
            for role, names in self.columns.items()
        }
        label = values.get("label", [None])[0]
        if label is not None and not label.strip():
            raise DataError(f"{where}: the label is empty; fill it in")
        return Entry(
            row.line,
            self.how.joined(values["text"]),
            row.values.get("id"),
            label,
            values.get("group", [None])[0],
            values.get("split", [row.part])[0],
        )

    def _value(self, where: str, row: Row, role: str, name: str) -> str:
        if name not in row.values:
            raise DataError(
                f"{where}: no column {name!r}; found {', '.join(row.values) or 'none'}"
                "; fill it in, or choose another column"
            )
        value = row.values[name]
        if role == "label" and isinstance(value, list):
            value = _one_label(where, name, value)
        return as_text(where, name, value)


def _first(rows: Rows) -> tuple[list[Row], DataError | None]:
    """Return the first rows, which columns are judged by; an error waits its turn."""
    sample: list[Row] = []
    try:
        sample.extend(itertools.islice(rows.rows, SAMPLE_ROWS))
    except DataError as error:
        return sample, error
    return sample, None


def _alone(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _one_label(where: str, column: str, labels: list[Any]) -> Any:
    """Return the only one of `labels`.

    Raises:
        SeveralLabelsError: there are several, or none.
    """
    if len(labels) == 1:
        return labels[0]
    shown = json.dumps(labels)[:60]
    raise SeveralLabelsError(
        f"{where}: {column!r} holds {len(labels)} labels ({shown}): multi-label data, "
        "where a text may have several; this classifier gives each text one label",
        column,
    )


def _count_several(rows: Iterator[Row], column: str) -> str:
    """Return how many of the rows that are left have several labels too."""
    several = total = 0
    try:
        for row in rows:
            total += 1
            value = row.values.get(column)
            several += isinstance(value, list) and len(value) != 1
    except DataError:  # what was counted is enough
        pass
    return f" ({several} of the {total} rows after it too)" if total else ""


def as_text(where: str, column: str, value: object) -> str:
    """Return a value of a text or label column as it is written.

    Raises:
        DataError: neither a string nor a number, or a string with half a character.
    """
    value = written(where, column, value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{where}: {column!r} holds half a character (a lone surrogate, \\ud800 to "
            "\\udfff); write the whole one"
        ) from None
    return value


def written(where: str, column: str, value: object) -> str:
    """Return a string or a number as it is written; a string may not be whole.

    Raises:
        DataError: neither, or NaN.
    """
    if isinstance(value, (bool, int, float)) and not is_missing(value):
        return json.dumps(value)
    if not isinstance(value, str):
        shown = json.dumps(value, default=str)[:40]
        raise DataError(f"{where}: {column!r} is {shown}; expected a string")
    return value
