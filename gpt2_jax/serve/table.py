"""A file of texts, read by the one reader and answered row by row."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpt2_jax.config import DataConfig
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.rows import open_rows
from gpt2_jax.data.sources import reading
from gpt2_jax.errors import DataError
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.inference.rows import as_usual, open_entries
from gpt2_jax.serve.schema import Columns, Result, TableQuery

# What is answered at once: two of these fit the half of the queue that background
# texts may fill.
GROUP_TEXTS = 64


_GROUP_CHARACTERS, _LONG = 2**20, 2**16
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a cell one in a spreadsheet


class Item(NamedTuple):
    """A row of a file, and its text."""

    row: Mapping[str, Any]
    text: str  # whole
    read: str  # what is sent to the device
    length: int  # tokens of the whole text


@dataclasses.dataclass(frozen=True)
class Checked:
    """A file that was read once without an error."""

    columns: tuple[str, ...]
    rows: int


def table_reading(query: TableQuery, usual: Reading) -> Reading:
    """Return how the file is to be read.

    Raises:
        ValueError: a parameter cannot be.
    """
    values = query.model_dump(include={f.name for f in dataclasses.fields(Reading)})
    values["text_column"] = tuple(query.text_column) or None
    config = DataConfig(**values)
    return dataclasses.replace(as_usual(reading(config), usual), whole=True)


def find_columns(path: Path, name: str, how: Reading) -> Columns:
    """Return the columns of a file, and those of them that the text would stand in.

    Raises:
        DataError: the file cannot be read, or has no rows.
    """
    columns: dict[str, None] = {}
    with path.open("rb") as file:
        try:
            with open_entries(file, name, how) as entries:
                for _ in itertools.islice(entries, 100):
                    columns |= dict.fromkeys(entries.row.values)
                found = list(entries.columns["text"])
            return Columns(columns=list(columns), text_columns=found)
        except DataError:
            file.seek(0)
            rows = open_rows(file, name, how, labelled=False)
            first = next(iter(rows.rows), None)
            # Only where another column may help.
            if first is None or len(rows.columns) < 2 or columns:
                raise
            return Columns(columns=rows.columns, text_columns=[])


def check(path: Path, name: str, how: Reading) -> Checked:
    """Read a file to its end, so that it is refused before anything is answered.

    Raises:
        DataError: as `open_entries` does.
    """
    columns: dict[str, None] = {}
    count = 0
    with path.open("rb") as file, open_entries(file, name, how) as entries:
        for _ in entries:
            count += 1
            if not columns.keys() >= entries.row.values.keys():
                columns |= dict.fromkeys(entries.row.values)
    return Checked(tuple(columns), count)


def groups(
    path: Path, name: str, how: Reading, classifier: Classifier
) -> Generator[list[Item]]:
    """Yield the texts of a file, a few at a time."""
    group: list[Item] = []
    size = 0
    with path.open("rb") as file, open_entries(file, name, how) as entries:
        for entry in entries:
            group.append(_item(entries.row.values, entry.text, classifier))
            size += len(entry.text)
            if len(group) == GROUP_TEXTS or size >= _GROUP_CHARACTERS:
                yield group
                group, size = [], 0
    if group:
        yield group


def _item(row: Mapping[str, Any], text: str, classifier: Classifier) -> Item:
    # The device's thread encodes too: a book in a cell must not hold it up.
    read = text if len(text) <= _LONG else classifier.part_read(text)
    return Item(row, text, read, len(classifier.tokenizer.encode(text)))


def json_lines(items: Sequence[Item], results: Sequence[Result]) -> bytes:
    """Return a `TableLine` for each row."""
    return b"".join(
        _json(item, result) + b"\n" for item, result in zip(items, results, strict=True)
    )


def _json(item: Item, result: Result) -> bytes:
    values = {"row": dict(item.row), "text": item.text, **result.model_dump()}
    try:
        return json.dumps(values, default=str, allow_nan=False).encode()
    except ValueError:  # a number that JSON does not have
        values["row"] = {name: cell(value) for name, value in item.row.items()}
        return json.dumps(values).encode()


class CsvTable:
    """Writes the rows of a file with their answers beside them, as CSV.

    A cell that a spreadsheet would compute gets an apostrophe in front, which the
    spreadsheet hides.
    """

    def __init__(self, columns: Sequence[str], labels: Sequence[str]) -> None:
        self._columns, self._labels = columns, labels

    def head(self) -> bytes:
        probs = (f"p_{label}" for label in self._labels)
        return _csv([[*self._columns, *self._named("label", "prob", *probs, *_REST)]])

    def lines(self, items: Sequence[Item], results: Sequence[Result]) -> bytes:
        return _csv(
            [
                *(cell(item.row.get(name)) for name in self._columns),
                result.label or "",
                f"{result.prob:.6f}",
                *(f"{result.probs[label]:.6f}" for label in self._labels),
                str(result.n_tokens),
                json.dumps(result.truncated),
            ]
            for item, result in zip(items, results, strict=True)
        )

    def _named(self, *names: str) -> Iterator[str]:
        for name in names:
            while name in self._columns:
                name = f"predicted_{name}"
            yield name


_REST = ("n_tokens", "truncated")


def cell(value: Any) -> str:
    """Return a value of any file as it is written into CSV."""
    if value is None:
        return ""
    if isinstance(value, (bool, int, float, list, dict)):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)


def harmless(value: str) -> str:
    """Return a cell that no spreadsheet computes."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def _csv(rows: Any) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([harmless(value) for value in row] for row in rows)
    return file.getvalue().encode("utf-8", "backslashreplace")
