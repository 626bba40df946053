"""Texts to predict, row by row: no file or stream is ever held whole."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gpt2_jax.data import archive, content
from gpt2_jax.data.dialect import split_labels
from gpt2_jax.data.documents import json_line
from gpt2_jax.data.entries import Entries, written
from gpt2_jax.data.lines import LineSplitter, characters
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.rows import open_rows
from gpt2_jax.errors import DataError

STREAM = "standard input"


@dataclasses.dataclass(frozen=True)
class Row:
    """One text, and the id that its input gave it."""

    text: str
    id: Any = None  # any JSON value; None: it has none


@contextlib.contextmanager
def open_entries(
    file: BinaryIO, name: str, how: Reading, member: str | None = None
) -> Generator[Entries]:
    """Open the texts of a file, or of `member` of an archive, as training reads them.

    A file without a table's suffix has a text on each line, unless `how` or its first
    line says that it is a table. Blank lines are skipped.

    Raises:
        DataError: a row that holds no text, not UTF-8, NUL bytes, a ragged row.
    """
    with contextlib.ExitStack() as stack:
        if content.suffixes(name)[0] == archive.SUFFIX:
            file, name = stack.enter_context(archive.only_table(file, name, member))
        rows = open_rows(file, name, how, labelled=False)
        yield Entries(rows, how, labelled=False)


def usual_reading(run: Path) -> Reading:
    """Return how texts stand in a row of the data that a run was trained on.

    That is the text columns, and what joins several.
    """
    try:
        data = json.loads((run / "config.json").read_bytes())["data"]
        column, between = data["text_column"], data.get("join")
    except (OSError, ValueError, LookupError, TypeError):  # not a run of finetune
        return Reading()
    names = (column,) if isinstance(column, str) else tuple(column or ())
    return Reading(usual=names or ("text",), join=between)


def as_usual(how: Reading, usual: Reading) -> Reading:
    """Return `how`, which reads as `usual` what it says nothing of."""
    join = usual.join if how.join is None else how.join
    return dataclasses.replace(how, usual=usual.usual, join=join)


def stream_groups(stream: BinaryIO, how: Reading) -> Iterator[list[Row]]:
    """Yield the rows of standard input in groups, as they come.

    A line is a JSON object, a JSON string, or plain text, less the labels that fastText
    puts before it; where the first is JSON, all are. A group is what one read gave, so
    that nobody who writes a line has to write another before its answer.

    Raises:
        DataError: a line that holds no text; the lines before it were yielded.
    """
    splitter, lines = LineSplitter(STREAM), _Lines(how)
    for text in characters(stream, STREAM, how.encoding, how.encoding_errors):
        yield from _group(splitter.feed(text), lines)
    yield from _group(splitter.rest(), lines)


class _Lines:
    """Reads lines; the first one tells whether all are JSON."""

    def __init__(self, how: Reading) -> None:
        self._how, self._json = how, None

    def row(self, number: int, line: str) -> Row:
        where = f"{STREAM}, line {number}"
        is_json = line[:1] in ("{", '"')
        if self._json is None:
            self._json = is_json
        if self._json and not is_json:
            raise DataError(
                f"{where}: not JSON, though the first line is; write it as a JSON "
                'string, as "a text"'
            )
        if is_json:
            return _json_row(line, self._how, where)
        return Row(split_labels(line)[1])


def _group(numbered: Iterable[tuple[int, str]], lines: _Lines) -> Iterator[list[Row]]:
    rows: list[Row] = []
    try:
        for number, line in numbered:
            if line.strip():
                line = line.removesuffix("\n").removesuffix("\r")
                rows.append(lines.row(number, line))
    except DataError:
        if rows:
            yield rows
        raise
    if rows:
        yield rows


def _json_row(line: str, how: Reading, where: str) -> Row:
    values = json_line(where, line, how)
    columns = how.texts(values)
    for column in columns:
        if column not in values:
            raise DataError(
                f"{where}: no column {column!r}; found {', '.join(values) or 'none'}; "
                "choose with --text-column"
            )
    # Half a character of JSON is taken: a service that asks must get an answer.
    texts = [written(where, column, values[column]) for column in columns]
    return Row(how.joined(texts), values.get("id"))
