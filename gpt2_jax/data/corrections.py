"""Labels that were looked at again: `--corrections FILE`."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from gpt2_jax.data.tables import Table
from gpt2_jax.errors import DataError

TEXT, LABEL, CORRECTED = "text", "label", "corrected"


def correct_labels(name: str, table: Table, path: Path) -> tuple[Table, bytes]:
    """Give the texts of a table the labels that a file corrects.

    The file is CSV with the columns text, label and corrected, as `label-errors` writes
    it: each row with this text and this label gets the corrected one. Lines without one
    change nothing. Returns what the file holds, too.

    Raises:
        DataError: it cannot be read so, or a line is of no row, or two contradict.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    wanted: dict[tuple[str, str], str] = {}
    for line, (text, label, corrected) in _lines(path, content):
        if wanted.setdefault((text, label), corrected) != corrected:
            raise DataError(
                f"{path}, line {line}: this text has another corrected label before"
            )
    counts = Counter(zip(table.texts, table.labels, strict=True))
    if lost := [key for key in wanted if key not in counts]:
        text, label = lost[0]
        raise DataError(
            f"{path}: {len(lost)} of {len(wanted)} corrections are of no row of "
            f"{name}, such as {text[:60]!r} with the label {label!r}; text and label "
            "must be those of the data"
        )
    labels = tuple(
        wanted.get((text, label), label)
        for text, label in zip(table.texts, table.labels, strict=True)
    )
    changed = sum(a != b for a, b in zip(labels, table.labels, strict=True))
    note = f"{changed} labels are corrected by {path}"
    notes = (*table.notes, note)
    return dataclasses.replace(table, labels=labels, notes=notes), content


def _lines(path: Path, content: bytes) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Yield the number and the values of each line that corrects something."""
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        lacking = {TEXT, LABEL, CORRECTED} - set(reader.fieldnames or ())
        if lacking:
            raise DataError(
                f"{path}: has no column {', '.join(sorted(lacking))}; expected those "
                "that gpt2-jax label-errors writes"
            )
        for row in reader:
            if corrected := (row[CORRECTED] or "").strip():
                yield reader.line_num, (row[TEXT], row[LABEL], corrected)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV in UTF-8 ({error})") from None
