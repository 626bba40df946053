"""Labelled texts from CSV, TSV and JSONL files; nothing is lost in silence."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gpt2_jax.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl")


@dataclasses.dataclass(frozen=True)
class Table:
    """Texts and their labels, in the order of the file."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None = None  # rows of one group belong together
    notes: tuple[str, ...] = ()  # what was skipped or is odd, for the user to read


Row = tuple[int, dict[str, Any]]  # line number, columns


def read_table(
    path: Path,
    *,
    text_column: str = "text",
    label_column: str = "label",
    group_column: str | None = None,
) -> Table:
    """Read the labelled texts of a file; its suffix tells the format.

    CSV follows RFC 4180: quotes, doubled quotes, newlines inside quotes. TSV has no
    quoting at all. JSONL has one object per line. All are UTF-8, with or without BOM,
    LF or CRLF. No value is special: `NA` and `null` are texts.

    Raises:
        DataError: no such file, not UTF-8, NUL bytes, no rows, a column that is not
            there, a ragged or broken row (with its line number), an empty label.
    """
    columns = [text_column, label_column]
    columns += [] if group_column is None else [group_column]
    rows, notes = _read_rows(path, columns)
    for line, row in rows:
        if not row[label_column].strip():
            raise DataError(f"{path}, line {line}: the label is empty; fill it in")
    texts = tuple(row[text_column] for _, row in rows)
    labels = tuple(row[label_column] for _, row in rows)
    groups = None
    if group_column is not None:
        groups = tuple(row[group_column] for _, row in rows)
    return Table(texts, labels, groups, (*notes, *_notes(path, texts)))


def read_columns(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Read columns of a file without labels; raises as `read_table` does."""
    rows, _ = _read_rows(path, columns)
    return [[row[column] for _, row in rows] for column in columns]


def _read_rows(path: Path, columns: Sequence[str]) -> tuple[list[Row], list[str]]:
    content = read_text(path)
    read = _read_jsonl if path.suffix == ".jsonl" else _read_delimited
    rows, blank = read(path, content)
    if not rows:
        raise DataError(f"{path}: a header but no rows; add labelled texts")
    for line, row in rows:
        for column in columns:
            if column not in row:
                raise DataError(
                    f"{path}, line {line}: no column {column!r}; found "
                    f"{', '.join(row) or 'none'}; choose with --text-column and "
                    "--label-column"
                )
            row[column] = _as_text(f"{path}, line {line}", column, row[column])
    return rows, [f"{blank} blank lines skipped"] if blank else []


def read_text(path: Path) -> str:
    """Read a UTF-8 file whole.

    Raises:
        DataError: no such file, empty, not UTF-8, or with NUL bytes.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder; expected a {', '.join(SUFFIXES)} file")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not raw.strip():
        raise DataError(f"{path}: empty; expected a header and labelled texts")
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: a NUL byte; not a text file, or UTF-16: save it as "
            "UTF-8"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not UTF-8; save "
            "the file as UTF-8 (iconv -f latin1 -t utf-8)"
        ) from None


def _read_delimited(path: Path, content: str) -> tuple[list[Row], int]:
    rows: list[Row] = []
    header: list[str] | None = None
    blank = 0
    for line, fields in _split_lines(path, content):
        if not fields:
            blank += 1
        elif header is None:
            header = fields
            twice = [name for name, count in Counter(header).items() if count > 1]
            if twice:
                raise DataError(f"{path}: column {twice[0]!r} stands twice; rename one")
        elif len(fields) != len(header):
            raise DataError(
                f"{path}, line {line}: {len(fields)} fields, but the header has "
                f"{len(header)} ({', '.join(header)}); quote fields that hold the "
                "separator or a newline"
            )
        else:
            rows.append((line, dict(zip(header, fields, strict=True))))
    return rows, blank


def _split_lines(path: Path, content: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number at which a row starts, its fields)."""
    if path.suffix == ".tsv":
        for line, text in enumerate(io.StringIO(content, newline=None), start=1):
            text = text.removesuffix("\n")
            yield line, text.split("\t") if text else []
    elif path.suffix == ".csv":
        reader = csv.reader(io.StringIO(content, newline=""), strict=True)
        start = 1
        try:
            for fields in reader:
                yield start, fields
                start = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{path}, line {start}: {error}; check the quotes of this row"
            ) from None
    else:
        raise DataError(
            f"{path}: unknown kind of file; expected {', '.join(SUFFIXES)}, or one of "
            "demo, sms-spam"
        )


def _read_jsonl(path: Path, content: str) -> tuple[list[Row], int]:
    rows: list[Row] = []
    blank = 0
    # Only "\n" ends a line: JSON strings may hold U+2028, which splitlines() cuts at.
    for line, text in enumerate(content.split("\n"), start=1):
        if not text.strip():
            blank += 1
            continue
        try:
            values = json.loads(text, object_pairs_hook=_unique_keys)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {line}: not JSON ({error})") from None
        if not isinstance(values, dict):
            raise DataError(f"{path}, line {line}: expected a JSON object")
        rows.append((line, values))
    return rows, blank - content.endswith("\n")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice!r} stands twice")
    return values


def _as_text(where: str, column: str, value: object) -> str:
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if not isinstance(value, str):
        shown = json.dumps(value)[:40]
        raise DataError(f"{where}: {column!r} is {shown}; expected a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{where}: {column!r} holds half a character (a lone surrogate, \\ud800 to "
            "\\udfff); write the whole one"
        ) from None
    return value


def _notes(path: Path, texts: Sequence[str]) -> list[str]:
    quoted = sum(len(text) > 1 and text[0] == text[-1] == '"' for text in texts)
    if path.suffix != ".tsv" or not quoted:
        return []
    return [f"{quoted} texts stand in quotes, which were kept: TSV has no quoting"]
