"""Texts to predict: from arguments, a file, or JSON lines that keep coming."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gpt2_jax.data.tables import kind_of, read_columns, read_text
from gpt2_jax.errors import DataError

BATCH = 4096  # texts of a file; lines of a stream are answered one by one


def batches_of_texts(
    texts: Sequence[str], file: Path | None, text_column: str, stream: Iterable[str]
) -> Iterator[list[str]]:
    """Yield texts: those given, then those of `file`, else those of `stream`.

    Raises:
        DataError: nothing to read there, or a line that holds no text.
    """
    given = list(texts)
    if file is not None:
        given += read_texts(file, text_column)
    for start in range(0, len(given), BATCH):
        yield given[start : start + BATCH]
    if not given:
        seen = number = 0
        try:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    seen += 1
                    where = f"standard input, line {number}"
                    yield [_text_of(line, text_column, where)]
        except UnicodeDecodeError as error:
            raise DataError(
                f"standard input, after line {number}: not UTF-8 ({error.reason}); "
                "send JSON lines in UTF-8"
            ) from None
        if not seen:
            raise DataError(
                "standard input: empty; give TEXT, --file, or JSON lines on standard "
                "input"
            )


def read_texts(path: Path, text_column: str) -> list[str]:
    """Read the texts of a table, or each line of any other file."""
    if kind_of(path) is not None:
        return read_columns(path, (text_column,))[0]
    lines = io.StringIO(read_text(path), newline=None)  # ends: \n, \r\n or \r
    return [line.removesuffix("\n") for line in lines if line.strip()]


def _text_of(line: str, column: str, where: str) -> str:
    """Return the text of a JSON object, a JSON string, or of a plain line."""
    line = line.rstrip("\r\n")
    if line[:1] not in ("{", '"'):
        return line
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error})") from None
    if isinstance(value, dict):
        if column not in value:
            raise DataError(
                f"{where}: no key {column!r}; found {', '.join(value) or 'none'}"
            )
        value = value[column]
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a string, got {json.dumps(value)[:40]}")
    return value
