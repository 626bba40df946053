"""Labelled texts from CSV, TSV, JSONL and Parquet; nothing is lost in silence."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gpt2_jax.data import arrow, content
from gpt2_jax.data.rows import Row, read_delimited, read_jsonl
from gpt2_jax.errors import DataError

TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl")  # each of them may be followed by .gz, .xz


SUFFIXES = (*TEXT_SUFFIXES, *arrow.SUFFIXES)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where the fields of a labelled text stand."""

    text: str = "text"
    label: str = "label"
    group: str | None = None
    split: str | None = None

    def names(self) -> list[str]:
        return [name for name in dataclasses.astuple(self) if name is not None]


@dataclasses.dataclass(frozen=True)
class Table:
    """Texts and their labels, in the order of the file."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None = None  # rows of one group belong together
    notes: tuple[str, ...] = ()  # what was skipped or is odd, for the user to read
    parts: tuple[str, ...] | None = None  # of a split that is given, as it is named
    understood: str = ""  # how it was read, for the user to check


@dataclasses.dataclass(frozen=True)
class _Rows:
    name: str  # of the file
    unit: str  # that rows are counted in: a row of text may have several lines
    kind: str
    columns: list[str]  # all that the first row has
    rows: list[Row]
    notes: list[str]


def read_table(
    path: Path,
    *,
    text_column: str = "text",
    label_column: str = "label",
    group_column: str | None = None,
    split_column: str | None = None,
    encoding: str = "utf-8",
) -> Table:
    """Read the labelled texts of a file, or of standard input if it is named `-`.

    The suffix tells the format; standard input is JSONL where it starts with a brace,
    else CSV. CSV follows RFC 4180: quotes, doubled quotes, newlines inside quotes. TSV
    has no quoting at all. JSONL has one object per line. LF or CRLF end a line, a byte
    order mark is skipped. No value is special: `NA` and `null` are texts.

    Raises:
        DataError: no such file, another encoding, NUL bytes, no rows, a column that is
            not there, a ragged or broken row (with its line number), an empty label.
        DeviceError: Parquet, without the extra `data`.
    """
    columns = Columns(text_column, label_column, group_column, split_column)
    found = _read_rows(path, columns.names(), encoding)
    for line, row in found.rows:
        if not row[label_column].strip():
            raise DataError(
                f"{found.name}, {found.unit} {line}: the label is empty; fill it in"
            )

    def column(name: str | None) -> tuple[str, ...] | None:
        return None if name is None else tuple(row[name] for _, row in found.rows)

    texts, labels = column(text_column), column(label_column)
    assert texts is not None and labels is not None
    return Table(
        texts=texts,
        labels=labels,
        groups=column(group_column),
        notes=(*found.notes, *_notes(path, texts)),
        parts=column(split_column),
        understood=_understood(found, columns),
    )


def read_columns(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Read columns of a file without labels; raises as `read_table` does."""
    rows = _read_rows(path, columns, "utf-8").rows
    return [[row[column] for _, row in rows] for column in columns]


def read_text(path: Path) -> str:
    """Read a UTF-8 file whole.

    Raises:
        DataError: no such file, empty, not UTF-8, or with NUL bytes.
    """
    return content.decode(str(path), content.read_bytes(path))


def kind_of(path: Path) -> str | None:
    """Return which of `SUFFIXES` the file has, before `.gz` or `.xz`; None: another."""
    suffix = path.suffix
    if suffix in content.PACKED:
        suffix = Path(path.stem).suffix
        return suffix if suffix in TEXT_SUFFIXES else None
    return suffix if suffix in SUFFIXES else None


def _read_rows(path: Path, columns: Sequence[str], encoding: str) -> _Rows:
    found = _parse(path, columns, encoding)
    if not found.rows:
        raise DataError(f"{found.name}: a header but no rows; add labelled texts")
    for line, row in found.rows:
        for column in columns:
            where = f"{found.name}, {found.unit} {line}"
            if column not in row:
                raise DataError(
                    f"{where}: no column {column!r}; found "
                    f"{', '.join(row) or 'none'}; {_advice(column, found.columns)}"
                )
            row[column] = _as_text(where, column, row[column])
    return found


def _advice(column: str, columns: Sequence[str]) -> str:
    near = difflib.get_close_matches(column.lower(), columns, 1)
    return (f"did you mean {near[0]!r}? " if near else "") + (
        "choose with --text-column and --label-column"
    )


def _parse(path: Path, columns: Sequence[str], encoding: str) -> _Rows:
    name, kind = str(path), kind_of(path)
    if kind in arrow.SUFFIXES:
        names, values = arrow.read_arrow(path, columns)
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(f"{name}: column {twice[0]!r} stands twice; rename one")
        # What a row lacks, the whole file lacks: name all that it has instead.
        missing = set(columns) - set(names)
        rows = [dict.fromkeys(names) if missing else row for row in values]
        return _Rows(name, "row", kind, names, list(enumerate(rows, start=1)), [])
    if name == content.STDIN:
        name, raw = "standard input", content.read_stdin()
        kind = ".jsonl" if raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" else ".csv"
    else:
        raw = content.read_bytes(path)
    text = content.decode(name, raw, encoding)
    if kind == ".jsonl":
        rows, blank = read_jsonl(name, text)
    elif kind is None:
        raise DataError(
            f"{path}: unknown kind of file; expected {', '.join(SUFFIXES)}, a folder, "
            "or one of demo, sms-spam, imdb"
        )
    else:
        rows, blank = read_delimited(name, text, kind)
    notes = [f"{blank} blank lines skipped"] if blank else []
    return _Rows(name, "line", kind, list(rows[0][1]) if rows else [], rows, notes)


def _as_text(where: str, column: str, value: object) -> str:
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if not isinstance(value, str):
        shown = json.dumps(value, default=str)[:40]
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
    if kind_of(path) != ".tsv" or not quoted:
        return []
    return [f"{quoted} texts stand in quotes, which were kept: TSV has no quoting"]


def _understood(found: _Rows, columns: Columns) -> str:
    named = dataclasses.asdict(columns).items()
    roles = ", ".join(f"{role} {name!r}" for role, name in named if name is not None)
    others = [name for name in found.columns if name not in columns.names()]
    kind = found.kind.removeprefix(".").upper()
    return f"{found.name} read as {kind}: {roles}" + (
        f"; not used: {', '.join(map(repr, others))}" if others else ""
    )
