"""Which form a text file has: told by its suffix, and by what it holds."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence

from gpt2_jax.data.reading import Form, Reading
from gpt2_jax.errors import DataError

SAMPLE = 64 << 10  # characters that a file is known by

DELIMITERS = (",", "\t", ";", "|")

LABEL_PREFIX = "__label__"

_ROWS = 50

_LABEL_COLON = re.compile(r"[A-Z][A-Z_]{1,15}:\S+ ")

_SEPARATOR = re.compile(r"sep=(.)\r?\n")  # a first line that Excel knows

# What such a line is, cut at that separator.
SEPARATOR_ROW = ["sep=", ""]


def detect(
    name: str, suffix: str, sample: str, how: Reading, *, labelled: bool
) -> Form:
    """Return the form of a file that begins with `sample`.

    A file without a table's suffix is one text a line where no labels are needed,
    unless `how` or its first line says that it is a table.

    Raises:
        DataError: labels are needed, and it has a form that holds none.
    """
    lines = [line for line in sample.splitlines() if line.strip()]
    if suffix in (".jsonl", ".ndjson"):
        return Form("jsonl", encoding=how.encoding)
    if suffix == ".json":
        return Form(_json_kind(sample), encoding=how.encoding)
    if suffix in (".csv", ".tsv"):
        return _table(suffix, sample, how)
    if lines and sum(line.startswith(LABEL_PREFIX) for line in lines) == len(lines):
        return Form("fasttext", encoding=how.encoding)
    if not (labelled or how.is_table or _names_text(lines, how)):
        return Form("lines", encoding=how.encoding)
    if sample.lstrip()[:1] == "{" or re.match(r"\s*\[\s*[\[{\"]", sample):
        return Form(_json_kind(sample), encoding=how.encoding)
    found = _table("", sample, how)
    if (
        how.is_table
        or _names_text(lines, how)
        or _width(found, sample) > 1
        or not labelled
        or not lines
    ):
        return found
    if all(_LABEL_COLON.match(line) for line in lines):
        file = shlex.quote(name)
        raise DataError(
            f"{name}: each line is LABEL:SUB and a text; make the first space a tab, "
            f"and read it with --no-header --text-column 2 --label-column 1: sed "
            r"'s/:[^ ]* /\t/'"
            f" {file} > texts.tsv keeps the label before the colon, sed "
            r"'s/ /\t/'"
            " the whole one"
        )
    raise DataError(
        f"{name}: one text a line, without labels; give them with --labels-file FILE, "
        "one a line (of --test-data: --test-labels-file), or name the --delimiter "
        "between text and label"
    )


def split_labels(words: str) -> tuple[list[str], str]:
    """Return the labels that a line of fastText begins with, and its text."""
    labels: list[str] = []
    while words.startswith(LABEL_PREFIX):
        label, *rest = words.split(maxsplit=1)  # a space or a tab
        words = rest[0] if rest else ""
        labels.append(label.removeprefix(LABEL_PREFIX))
    return labels, words


def _json_kind(sample: str) -> str:
    """Tell lines of objects or pairs from one document, which may be long."""
    first, newline, rest = sample.lstrip().partition("\n")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return "json"
    several = newline and rest.strip()
    return "jsonl" if isinstance(value, (dict, list)) and several else "json"


def _names_text(lines: Sequence[str], how: Reading) -> bool:
    """Does the first line name the text column?"""
    if not lines:
        return False
    return any(_names(lines[0].split(delimiter), how) for delimiter in DELIMITERS)


def _names(cells: Sequence[str], how: Reading) -> bool:
    """Do these cells name the text column?"""
    there = {_plain(cell) for cell in cells}
    return any({_plain(n) for n in choice} <= there for choice in how.choices)


def _plain(cell: str) -> str:
    return cell.strip().strip("\"'").casefold()


def _table(suffix: str, sample: str, how: Reading) -> Form:
    """Return the delimiter and quote that make even rows of `sample`.

    Those of the suffix are taken where they find the text column in the first row.
    """
    usual = {".csv": ",", ".tsv": "\t"}.get(suffix)
    if said := _SEPARATOR.match(sample):
        sample = sample[said.end() :]
    delimiter = how.delimiter or (said[1] if said else None)
    choices = (delimiter,) if delimiter else DELIMITERS
    ranked: list[tuple[tuple[bool, float, bool, bool, int], str, str]] = []
    for delimiter in choices:
        for quote in _quotes(delimiter, how):
            rows = split_sample(sample, delimiter, quote)
            if not rows:
                continue
            named = _names(rows[0], how)
            width, count = Counter(map(len, rows)).most_common(1)[0]
            even = count / len(rows) if width > 1 else 0.0
            if named and quote != "'" and delimiter == usual:
                # As it always was read, unless quotes alone make rows of tabs even.
                even = max(even, 0.99) if delimiter == "\t" else 1.0
            rank = (
                named and how.header is not False,
                even,
                delimiter == usual,
                quote != "'",
                width,
            )
            ranked.append((rank, delimiter, quote))
    if ranked:
        _, delimiter, quote = max(ranked, key=lambda choice: choice[0])
    else:
        delimiter = delimiter or usual or ","
        quote = _quotes(delimiter, how)[0]
    kind = {",": "csv", "\t": "tsv"}.get(delimiter, "table")
    return Form(kind, delimiter, quote, how.header is not False, how.encoding)


def _quotes(delimiter: str, how: Reading) -> tuple[str, ...]:
    if how.quote is not None:
        return (how.quote,)
    return ("", '"') if delimiter == "\t" else ('"', "'")


def _width(form: Form, sample: str) -> int:
    """Return how many fields most rows have; 1 where they are uneven."""
    rows = split_sample(sample, form.delimiter or ",", form.quote or "")
    if not rows:
        return 0
    width, count = Counter(map(len, rows)).most_common(1)[0]
    return width if count >= 0.9 * len(rows) else 1


def split_sample(sample: str, delimiter: str, quote: str) -> list[list[str]]:
    """Return the first rows of a sample, as far as they are read without an error."""
    cut = len(sample) >= SAMPLE
    if cut:
        sample = sample[: sample.rfind("\n") + 1] or sample
    if not quote:
        lines = sample.splitlines()[:_ROWS]
        return [line.split(delimiter) for line in lines if line]
    rows: list[list[str]] = []
    reader = csv.reader(
        io.StringIO(sample, newline=""),
        delimiter=delimiter,
        quotechar=quote,
        strict=True,
    )
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) == _ROWS:
                break
    except csv.Error:
        if not cut:
            rows += [[]] * max(1, len(rows))  # not even
    return rows
