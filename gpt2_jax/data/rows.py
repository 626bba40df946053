"""The one reader: rows of any file or stream, as they come, for every command."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

from gpt2_jax.data import arrow, content, dialect, documents, excel
from gpt2_jax.data.lines import MAX_LINE, characters, split_lines
from gpt2_jax.data.profile import profile
from gpt2_jax.data.reading import Form, Reading
from gpt2_jax.data.row import Row, Rows, name_columns
from gpt2_jax.errors import DataError

TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")

_QUOTES = ", and say --quote '\"' where they are"

PLAIN_SUFFIXES = (".txt", ".text", ".data", ".label", ".ft", "")

SUFFIXES = (*TEXT_SUFFIXES, *arrow.SUFFIXES, *excel.SUFFIXES)


def kind_of(name: str) -> str | None:
    """Return which of `SUFFIXES` a file has, before that of its packing, if any."""
    suffix, packing = content.suffixes(name)
    return suffix if suffix in (TEXT_SUFFIXES if packing else SUFFIXES) else None


def is_plain(name: str) -> bool:
    """Is it a file of text whose content tells its form, and no note on the others?"""
    suffix = content.suffixes(name)[0]
    stem = PurePath(name).stem.lower()
    return suffix in PLAIN_SUFFIXES and not stem.startswith(("readme", "licen"))


def open_rows(stream: Any, name: str, how: Reading, *, labelled: bool) -> Rows:
    """Return the rows of an open binary file; the suffix of `name` and its content tell
    the form.

    Raises:
        DataError: what cannot be read. What is wrong with a row is raised when it is
            its turn.
        DeviceError: a form that needs the extra `data`.
    """
    kind = kind_of(name)
    if kind in arrow.SUFFIXES:
        return arrow.open_arrow(stream, name, how, labelled=labelled)
    if kind in excel.SUFFIXES:
        return excel.open_excel(stream, name, how)
    text = characters(
        content.unpacked(stream, name), name, how.encoding, how.encoding_errors
    )
    suffix = ".jsonl" if kind == ".ndjson" else content.suffixes(name)[0]
    return text_rows(text, name, suffix, how, labelled=labelled)


def text_rows(
    text: Iterator[str], name: str, suffix: str, how: Reading, *, labelled: bool
) -> Rows:
    """Return the rows of a text that comes in pieces; raises as `open_rows` does."""
    sample, text, failed = _peek(text)
    if not sample.strip() and len(sample) < dialect.SAMPLE:
        text = (piece for piece in text if False)  # its errors, but nothing of it
        sample = ""
    try:
        form = dialect.detect(
            name, suffix, sample[: dialect.SAMPLE], how, labelled=labelled
        )
    except DataError:
        if failed is not None:  # what was read of it tells little
            raise failed from None
        raise
    if form.kind == "json":
        return documents.document_rows(text, name, form, how)
    rows = Rows(name, "line", form, [], iter(()))
    if form.kind == "jsonl":
        rows.rows = documents.json_lines(split_lines(text, name), rows, how)
    elif form.kind == "fasttext":
        rows.columns = ["text", "label"]
        rows.rows = _fasttext(split_lines(text, name), rows)
    elif form.kind == "lines":
        rows.columns = list(how.texts()[:1])
        rows.rows = _plain_lines(split_lines(text, name), rows)
    else:
        known = dialect.split_sample(sample, form.delimiter or ",", form.quote or "")
        _delimited(split_lines(text, name, universal=True), rows, known)
    return rows


def _peek(text: Iterator[str]) -> tuple[str, Iterator[str], DataError | None]:
    """Return the first pieces, all pieces, where an error stays, and that error."""
    pieces: list[str] = []
    failed: DataError | None = None
    size = 0
    try:
        while size < dialect.SAMPLE and (piece := next(text, None)) is not None:
            pieces.append(piece)
            size += len(piece)
    except DataError as error:
        failed = error

    def all_pieces() -> Iterator[str]:
        yield from pieces
        pieces.clear()
        if failed is not None:
            raise failed
        yield from text

    return "".join(pieces), all_pieces(), failed


def _plain_lines(lines: Iterable[tuple[int, str]], rows: Rows) -> Iterator[Row]:
    column = rows.columns[0]
    for number, line in lines:
        line = line.removesuffix("\n").removesuffix("\r")
        if line.strip():
            yield Row(number, {column: line})
        else:
            rows.blank += 1


def _fasttext(lines: Iterable[tuple[int, str]], rows: Rows) -> Iterator[Row]:
    for number, line in lines:
        words = line.strip()
        if not words:
            rows.blank += 1
            continue
        labels, words = dialect.split_labels(words)
        yield Row(number, {"text": words, "label": labels})


def _delimited(
    lines: Iterator[tuple[int, str]], rows: Rows, known: Sequence[list[str]]
) -> None:
    """Set the columns and the rows of a table; its first rows are `known`."""
    fields = _fields(lines, rows.name, rows.form)
    number, first = 0, list[str]()
    while not first or first == dialect.SEPARATOR_ROW:
        if (found := next(fields, None)) is None:
            return
        number, first = found
        rows.blank += not first
    if rows.form.header:
        below = [row for row in known if row not in (first, dialect.SEPARATOR_ROW)]
        name_columns(rows, _as_wide(first, below))
    else:
        rows.columns = [str(i) for i in range(1, len(first) + 1)]
        fields = itertools.chain([(number, first)], fields)
    rows.header_line = number
    rows.rows = _table(fields, rows)


def _as_wide(header: list[str], below: Sequence[list[str]]) -> list[str]:
    """Return a header that is as wide as the rows below it.

    R writes row numbers without a name before the first column, and others a delimiter
    behind the last value.
    """
    if {len(row) for row in below} != {len(header) + 1}:
        return header
    if not any(row[-1].strip() for row in below):
        return [*header, ""]
    first = [row[0] for row in below]
    if len(set(first)) == len(first) > 1 and profile(first).ids == 1:
        return ["", *header]
    return header


def _table(fields: Iterable[tuple[int, list[str]]], rows: Rows) -> Iterator[Row]:
    columns = rows.columns
    for line, values in fields:
        if not values:
            rows.blank += 1
        elif len(values) != len(columns):
            above = "the header has" if rows.form.header else "the first row has"
            raise DataError(
                f"{rows.name}, line {line}: {len(values)} fields, but {above} "
                f"{len(columns)} ({', '.join(columns)}); quote fields that hold the "
                f"separator or a newline{'' if rows.form.quote else _QUOTES}"
            )
        else:
            yield rows.named(line, values)


def _fields(
    lines: Iterator[tuple[int, str]], name: str, form: Form
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number at which a row starts, its fields)."""
    assert form.delimiter is not None
    if not form.quote:
        for number, line in lines:
            line = line.rstrip("\r\n")
            yield number, line.split(form.delimiter) if line else []
        return
    csv.field_size_limit(MAX_LINE)  # the module's own is 128 KiB
    reader = csv.reader(
        (line for _, line in lines),
        delimiter=form.delimiter,
        quotechar=form.quote,
        strict=True,
    )
    start = 1
    try:
        for values in reader:
            yield start, values
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name}, line {start}: {error}; check the quotes of this row"
        ) from None
