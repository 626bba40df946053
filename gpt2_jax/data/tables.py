"""Texts of one file, with their labels; nothing is lost in silence."""

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
from gpt2_jax.data.reading import Reading, Understood, count_labels
from gpt2_jax.data.rows import open_rows, text_rows
from gpt2_jax.errors import DataError


@dataclasses.dataclass(frozen=True)
class Table:
    """Texts and their labels, in the order of the file."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]  # none, if it was read without
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
        return read_stream(stream, str(path), reading)


def read_stdin(how: Reading) -> Table:
    """Read standard input; its content tells the form."""
    name = "standard input"
    text = characters(content.stdin(), name, how.encoding, how.encoding_errors)
    rows = text_rows(text, name, "", how, labelled=how.labelled)
    return table_of(Entries(rows, how, labelled=how.labelled))


def read_stream(stream: Any, name: str, how: Reading) -> Table:
    """Read the texts of an open binary file; raises as `read_table` does."""
    rows = open_rows(stream, name, how, labelled=how.labelled)
    return table_of(Entries(rows, how, labelled=how.labelled))


def table_of(entries: Entries) -> Table:
    """Read all entries; raises as `read_table` does."""
    found = list(entries)
    rows = entries.rows
    labels = _column(found, "label") or ()
    if labels:
        cut = entries.how.label_threshold is not None
        _check_labels(rows.name, entries.columns["label"][0], labels, cut=cut)
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
        understood=dataclasses.replace(
            entries.understood(), labels=count_labels(labels)
        ),
    )


def _column(found: Sequence[Entry], field: str) -> tuple[str, ...] | None:
    values = tuple(getattr(entry, field) for entry in found)
    return None if None in values else values


def _check_labels(name: str, column: str, labels: Sequence[str], *, cut: bool) -> None:
    """Refuse what cannot be meant as labels, or to be `cut`; texts are not repeated.

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
    if len(counts) == len(labels) >= 10 and seen.ids == 1 and not cut:
        two = ", or make two classes of numbers with --label-threshold"
        two = two if seen.numbers == 1 else ""
        raise DataError(
            f"{told} looks like ids or numbers ({len(counts)} values in {len(labels)} "
            f"rows); choose another with --label-column{two}"
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
            f"{in_quotes} texts stand in quotes, which were kept: TSV has no quoting; "
            "--quote '\"' takes them off"
        )
    for other in entries.part_like:
        notes.append(
            f"the column {other!r} holds the names of parts and is not used: use that "
            f"split with --split-column {quoted(other)}"
        )
    return notes + entries.left_out()
