"""Labelled texts of one file; nothing is lost in silence."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt2_jax.data import content
from gpt2_jax.data.columns import quoted
from gpt2_jax.data.entries import Entries, Entry
from gpt2_jax.data.lines import characters
from gpt2_jax.data.profile import profile
from gpt2_jax.data.reading import (
    Reading,
    Understood,
    count_labels,
    shortened,
)
from gpt2_jax.data.rows import open_rows, text_rows
from gpt2_jax.errors import DataError


@dataclasses.dataclass(frozen=True)
class Table:
    """Texts and their labels, in the order of the file."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None = None  # rows of one group belong together
    notes: tuple[str, ...] = ()  # what was skipped or is odd, for the user to read
    parts: tuple[str, ...] | None = None  # of a split that is given, as it is named
    understood: Understood | None = None  # how it was read, for the user to check


def read_table(path: Path, **how: Any) -> Table:
    """Read the labelled texts of a file, or of standard input if it is named `-`.

    `how` are the fields of a `Reading`. The suffix and the content tell the form. CSV
    follows RFC 4180: quotes, doubled quotes, newlines inside quotes. TSV has no quoting
    at all. LF or CRLF end a line, a byte order mark is skipped. No value is special:
    `NA` and `null` are texts.

    Raises:
        DataError: no such file, another encoding, NUL bytes, no rows, a column that is
            not there, a ragged or broken row (with its line number), an empty label.
        DeviceError: a form that needs the extra `data`.
    """
    reading = Reading(**how)
    if str(path) == content.STDIN:
        return read_stdin(reading)
    with content.open_raw(path) as stream:
        return read_labelled(stream, str(path), reading)


def read_stdin(how: Reading) -> Table:
    """Read standard input: JSON lines where it starts with a brace, else a table."""
    name = "standard input"
    text = characters(content.stdin(), name, how.encoding, how.encoding_errors)
    first = ""
    pieces = []
    while not first and (piece := next(text, None)) is not None:
        pieces.append(piece)
        first = piece.lstrip()[:1]

    def whole():
        yield from pieces
        yield from text

    suffix = ".jsonl" if first == "{" else ".json" if first == "[" else ".csv"
    return table_of(
        Entries(
            text_rows(whole(), name, suffix, how, labelled=True), how, labelled=True
        )
    )


def read_labelled(stream: Any, name: str, how: Reading) -> Table:
    """Read the labelled texts of an open binary file; raises as `read_table` does."""
    return table_of(
        Entries(open_rows(stream, name, how, labelled=True), how, labelled=True)
    )


def table_of(entries: Entries) -> Table:
    """Read all entries; raises as `read_table` does."""
    found = list(entries)
    rows = entries.rows
    labels = tuple(entry.label or "" for entry in found)
    _check_labels(rows.name, entries.columns["label"][0], labels)
    texts = tuple(entry.text for entry in found)
    groups = _column(found, "group")
    if lonely := sum(not group.strip() for group in groups or ()):
        rows.notes.append(
            f"{lonely} rows have nothing in the group column "
            f"{entries.columns['group'][0]!r}: each is a group with those of its text"
        )
    return Table(
        texts=texts,
        labels=labels,
        groups=groups
        and tuple(
            group if group.strip() else text
            for group, text in zip(groups, texts, strict=True)
        ),
        notes=(*rows.all_notes(), *_notes(entries, texts)),
        parts=_column(found, "part"),
        understood=_understood(entries, found, labels),
    )


def _column(found: Sequence[Entry], field: str) -> tuple[str, ...] | None:
    values = tuple(getattr(entry, field) for entry in found)
    return None if None in values else values


def _check_labels(name: str, column: str, labels: Sequence[str]) -> None:
    """Refuse what cannot be meant as labels; texts are not repeated.

    Raises:
        DataError: texts or ids, or several labels in one.
    """
    counts = Counter(labels)
    seen = profile(labels)
    told = f"{name}: the label column {column!r}"
    if len(counts) > len(labels) / 2 and (seen.words >= 4 or seen.length >= 40):
        raise DataError(
            f"{told} looks like texts ({len(counts)} values in {len(labels)} rows, "
            f"{seen.length:.0f} characters on average); choose another with "
            "--label-column"
        )
    if len(counts) == len(labels) >= 10 and seen.ids == 1:
        raise DataError(
            f"{told} looks like ids or numbers ({len(counts)} values in {len(labels)} "
            "rows); choose another with --label-column"
        )
    for separator in (",", ";", "|"):
        several = [label for label in counts if separator in label]
        pieces = {p.strip() for label in several for p in label.split(separator)}
        alone = pieces & set(counts)
        if len(several) >= 2 and len(alone) >= 0.3 * len(pieces):
            rows = sum(counts[label] for label in several)
            raise DataError(
                f"{told} holds several labels in {rows} of {len(labels)} rows, as "
                f"{several[0]!r}: multi-label data, where a text may have several; "
                "this classifier gives each text one label"
            )


def _notes(entries: Entries, texts: Sequence[str]) -> list[str]:
    notes = []
    in_quotes = sum(len(text) > 1 and text[0] == text[-1] == '"' for text in texts)
    if (
        entries.rows.form.delimiter == "\t"
        and not entries.rows.form.quote
        and in_quotes
    ):
        notes.append(
            f"{in_quotes} texts stand in quotes, which were kept: TSV has no quoting"
        )
    for other in entries.text_like:
        notes.append(
            f"the column {other!r} looks like text too and is left out; add it with "
            f"--text-column {quoted(entries.columns['text'][0])} --text-column "
            f"{quoted(other)}"
        )
    return notes


def _understood(
    entries: Entries, found: Sequence[Entry], labels: Sequence[str]
) -> Understood:
    rows = entries.rows
    used = [name for names in entries.columns.values() for name in names]
    return Understood(
        name=rows.name,
        form=rows.form,
        columns=tuple(
            (role, name, shortened(entries.example.get(name, "")))
            for role, names in entries.columns.items()
            for name in names
        ),
        unused=tuple(
            name
            for name in rows.columns
            if name not in used and name not in rows.unnamed
        ),
        labels=count_labels(labels),
    )
