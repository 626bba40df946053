"""Texts of an input, row by row: no file or stream is ever held whole."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gpt2_jax.data.tables import kind_of, read_columns
from gpt2_jax.errors import DataError

MAX_LINE_BYTES = 64 * 2**20  # of one line, or of one quoted CSV row


_CHUNK_BYTES = 2**20


Line = tuple[int, str]  # its number, and it without its "\n"


@dataclasses.dataclass(frozen=True)
class Row:
    """One text, and the id that its input gave it."""

    text: str
    id: Any = None  # any JSON value; None: it has none


def file_rows(file: BinaryIO, path: Path, text_column: str) -> Iterator[Row]:
    """Yield the rows of an open file; its suffix tells the format.

    Tables are read as `data.tables` does, Parquet and the like whole; any other file
    has a text on each line. Blank lines are skipped.

    Raises:
        DataError: a row that holds no text, not UTF-8, NUL bytes, a ragged row.
    """
    where = str(path)
    raw = (line for group in _line_groups(file, where) for line in group)
    lines = _without_returns(raw)
    kind = kind_of(path)
    if kind == ".jsonl":
        for number, line in lines:
            if line.strip():
                yield _json_row(line, text_column, f"{where}, line {number}")
    elif kind == ".tsv":
        rows = ((number, line.split("\t") if line else []) for number, line in lines)
        yield from _table_rows(rows, text_column, where)
    elif kind == ".csv":
        yield from _table_rows(_csv_fields(raw, where), text_column, where)
    elif kind is not None:
        yield from map(Row, read_columns(path, (text_column,))[0])
    else:
        yield from (Row(line) for _, line in lines if line.strip())


def stream_groups(stream: BinaryIO, text_column: str) -> Iterator[list[Row]]:
    """Yield the rows of standard input in groups, as they come.

    A line is a JSON object, a JSON string, or plain text. A group is what one read
    gave, so that nobody who writes a line has to write another before its answer.

    Raises:
        DataError: a line that holds no text; the lines before it were yielded.
    """
    where = "standard input"
    for lines in _line_groups(stream, where):
        rows = []
        try:
            for number, line in _without_returns(lines):
                if line.strip():
                    rows.append(_any_row(line, text_column, f"{where}, line {number}"))
        except DataError:
            if rows:
                yield rows
            raise
        if rows:
            yield rows


def _any_row(line: str, column: str, where: str) -> Row:
    return _json_row(line, column, where) if line[:1] in ("{", '"') else Row(line)


def _json_row(line: str, column: str, where: str) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from None
    identity = None
    if isinstance(value, dict):
        if column not in value:
            raise DataError(
                f"{where}: no key {column!r}; found {', '.join(value) or 'none'}; "
                "choose with --text-column"
            )
        value, identity = value[column], value.get("id")
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a string, got {json.dumps(value)[:40]}")
    return Row(value, identity)


def _table_rows(
    rows: Iterable[tuple[int, list[str]]], column: str, where: str
) -> Iterator[Row]:
    """Yield the rows below a header."""
    header: list[str] | None = None
    for number, fields in rows:
        if not fields:
            continue
        if header is None:
            header = fields
            twice = [name for name, count in Counter(header).items() if count > 1]
            if twice:
                raise DataError(
                    f"{where}: column {twice[0]!r} stands twice; rename one"
                )
            if column not in header:
                raise DataError(
                    f"{where}, line {number}: no column {column!r}; found "
                    f"{', '.join(header)}; choose with --text-column"
                )
        elif len(fields) != len(header):
            raise DataError(
                f"{where}, line {number}: {len(fields)} fields, but the header has "
                f"{len(header)} ({', '.join(header)}); quote fields that hold the "
                "separator or a newline"
            )
        else:
            values = dict(zip(header, fields, strict=True))
            yield Row(values[column], values.get("id"))


def _csv_fields(lines: Iterable[Line], where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number at which a row starts, its fields)."""
    csv.field_size_limit(MAX_LINE_BYTES)  # csv's own 131,072 is no limit of ours
    reader = csv.reader((f"{line}\n" for _, line in lines), strict=True)
    start = 1
    try:
        for fields in reader:
            yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{where}, line {start}: {error}; check the quotes of this row"
        ) from None


def _without_returns(lines: Iterable[Line]) -> Iterator[Line]:
    return ((number, line.removesuffix("\r")) for number, line in lines)


def _line_groups(stream: BinaryIO, where: str) -> Iterator[Iterator[Line]]:
    """Yield the lines that each read of `stream` completes."""
    number, rest = 0, bytearray()
    read = getattr(stream, "read1", stream.read)  # read1: what is there, no waiting
    while chunk := read(_CHUNK_BYTES):
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            raw = bytes(rest + head).split(b"\n")
            yield _decoded(raw, number, where)
            number, rest = number + len(raw), bytearray(tail)
        else:
            rest += chunk
        if len(rest) > MAX_LINE_BYTES:
            raise DataError(
                f"{where}, line {number + 1}: longer than {MAX_LINE_BYTES >> 20} MiB; "
                "one text goes on each line"
            )
    if rest:
        yield _decoded([bytes(rest)], number, where)


def _decoded(raw: list[bytes], before: int, where: str) -> Iterator[Line]:
    for number, line in enumerate(raw, start=before + 1):
        if b"\0" in line:
            raise DataError(
                f"{where}, line {number}: a NUL byte; not text, or UTF-16: send UTF-8"
            )
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where}, line {number}: byte 0x{line[error.start]:02x} is not UTF-8; "
                "send UTF-8 (iconv -f latin1 -t utf-8)"
            ) from None
        yield number, text
