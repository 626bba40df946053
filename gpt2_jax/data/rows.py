"""The rows of a delimited or JSON-lines text, each with the line it starts at."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gpt2_jax.errors import DataError

Row = tuple[int, dict[str, Any]]  # line number, columns


MAX_FIELD = 64 << 20  # characters; an unclosed quote would take the rest of the file


def read_delimited(name: str, text: str, kind: str) -> tuple[list[Row], int]:
    """Return the rows of a `.csv` or `.tsv`, and how many lines were blank."""
    rows: list[Row] = []
    header: list[str] | None = None
    blank = 0
    for line, fields in _split_lines(name, text, kind):
        if not fields:
            blank += 1
        elif header is None:
            header = fields
            twice = [name for name, count in Counter(header).items() if count > 1]
            if twice:
                raise DataError(f"{name}: column {twice[0]!r} stands twice; rename one")
        elif len(fields) != len(header):
            raise DataError(
                f"{name}, line {line}: {len(fields)} fields, but the header has "
                f"{len(header)} ({', '.join(header)}); quote fields that hold the "
                "separator or a newline"
            )
        else:
            rows.append((line, dict(zip(header, fields, strict=True))))
    return rows, blank


def _split_lines(name: str, text: str, kind: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number at which a row starts, its fields)."""
    if kind == ".tsv":
        for line, row in enumerate(io.StringIO(text, newline=None), start=1):
            row = row.removesuffix("\n")
            _check_length(name, line, row)
            yield line, row.split("\t") if row else []
        return
    csv.field_size_limit(MAX_FIELD)  # the module's own is 128 KiB
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    try:
        for fields in reader:
            yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name}, line {start}: {error}; check the quotes of this row"
        ) from None


def read_jsonl(name: str, text: str) -> tuple[list[Row], int]:
    """Return the objects of JSON lines, and how many lines were blank."""
    rows: list[Row] = []
    blank = 0
    # Only "\n" ends a line: JSON strings may hold U+2028, which splitlines() cuts at.
    for line, row in enumerate(text.split("\n"), start=1):
        if not row.strip():
            blank += 1
            continue
        _check_length(name, line, row)
        try:
            values = json.loads(row, object_pairs_hook=_unique_keys)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}, line {line}: not JSON ({error})") from None
        if not isinstance(values, dict):
            raise DataError(f"{name}, line {line}: expected a JSON object")
        rows.append((line, values))
    return rows, blank - text.endswith("\n")


def _check_length(name: str, line: int, row: str) -> None:
    if len(row) > MAX_FIELD:
        raise DataError(
            f"{name}, line {line}: {len(row):,} characters, and no more than "
            f"{MAX_FIELD:,} are read; one text goes on each line"
        )


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice!r} stands twice")
    return values
