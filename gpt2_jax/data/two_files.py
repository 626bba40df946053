"""Texts and labels in two files, and the names of labels that are numbers."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

from gpt2_jax.data.content import open_input, read_bytes
from gpt2_jax.data.join import part_of_file
from gpt2_jax.data.lines import characters, split_lines
from gpt2_jax.data.reading import Form, Reading, Understood, count_labels, shortened
from gpt2_jax.data.tables import Table
from gpt2_jax.errors import DataError

_NUMBERED = re.compile(r"\s*(\d+)\s*[\t,;: ]\s*(.*\S)\s*")


def read_two(texts_path: Path, labels_path: Path, how: Reading) -> Table:
    """Read a text on each line of a file, and its label on the same line of another.

    Raises:
        DataError: they cannot be read, have not equally many lines, or a label is
            empty.
    """
    texts = _lines(texts_path, how)
    labels = [label.strip() for label in _lines(labels_path, how)]
    if len(texts) != len(labels):
        raise DataError(
            f"{labels_path}: {len(labels)} labels, but {texts_path} has {len(texts)} "
            "texts; each line of one belongs to the same line of the other"
        )
    if not texts:
        raise DataError(f"{texts_path}: empty; expected a text on each line")
    if "" in labels:
        line = labels.index("") + 1
        raise DataError(f"{labels_path}, line {line}: the label is empty; fill it in")
    understood = Understood(
        name=str(texts_path),
        form=Form("lines", encoding=how.encoding),
        columns=(
            ("text", str(texts_path), shortened(texts[0])),
            ("label", str(labels_path), shortened(labels[0])),
        ),
        labels=count_labels(labels),
    )
    return Table(tuple(texts), tuple(labels), understood=understood)


def pair_flags(folder: Path) -> str:
    """Return the flags that read `train_text.txt` and `train_labels.txt` of a folder.

    Those of the test part come with them; without such files it is empty.
    """
    flags = []
    for part, names in (
        ("train", ("--data", "--labels-file")),
        ("test", ("--test-data", "--test-labels-file")),
    ):
        files = [p for p in sorted(folder.glob("*")) if part_of_file(p.name) == part]
        labels = [path for path in files if "label" in path.stem.lower()]
        texts = [p for p in files if "text" in p.stem.lower() and p not in labels]
        if len(texts) == len(labels) == 1:
            flags += [names[0], str(texts[0]), names[1], str(labels[0])]
    return shlex.join(flags)


def name_labels(table: Table, path: Path) -> Table:
    """Put names in the place of labels that are numbers.

    A line of the file holds a number and a name, or a name alone: then the first one
    has the number 0, or 1 where the labels are 1 to as many as there are names.

    Raises:
        DataError: a label has no name there; some lines only have a number, or two
            the same; it is not in UTF-8.
    """
    lines = [line.strip() for line in _utf8(path).split("\n") if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    whole = {_number(label) for label in table.labels}
    if any(numbered):
        names: dict[int, str] = {}
        for line, match in zip(lines, numbered, strict=True):
            if match is None:
                raise DataError(
                    f"{path}: {line[:40]!r} has no number, but other lines have one; "
                    "omit it if it is a header, or number all lines or none"
                )
            if int(match[1]) in names:
                raise DataError(
                    f"{path}: the number {int(match[1])} stands twice, before "
                    f"{names[int(match[1])]!r} and {match[2]!r}; keep one"
                )
            names[int(match[1])] = match[2]
    else:
        last = len(lines)
        first = 1 if whole <= set(range(1, last + 1)) and last in whole else 0
        names = dict(enumerate(lines, start=first))
    lacking = sorted({label for label in table.labels if _number(label) not in names})
    if lacking:
        raise DataError(
            f"{path}: no name for the label {lacking[0]!r}; it has {len(names)}, of "
            f"{min(names, default=0)} to {max(names, default=0)}"
        )
    if len(set(names.values())) < len(names):
        raise DataError(f"{path}: a name stands twice")
    labels = tuple(names[_number(label) or 0] for label in table.labels)
    understood = table.understood
    if understood is not None:
        understood = dataclasses.replace(understood, labels=count_labels(labels))
    pairs = ", ".join(f"{number} is {names[number]}" for number in sorted(names)[:3])
    note = f"labels named by {path}: {pairs}{', ...' if len(names) > 3 else ''}"
    return dataclasses.replace(
        table, labels=labels, understood=understood, notes=(*table.notes, note)
    )


def _utf8(path: Path) -> str:
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise DataError(
            f"{path}: not UTF-8; save it as UTF-8, whatever the texts are in"
        )
    return text


def _number(label: str) -> int | None:
    return int(label) if re.fullmatch(r"[+-]?\d{1,9}", label) else None


def _lines(path: Path, how: Reading) -> list[str]:
    with open_input(path) as stream:
        text = characters(stream, str(path), how.encoding, how.encoding_errors)
        lines = [line for _, line in split_lines(text, str(path))]
    return [line.removesuffix("\n").removesuffix("\r") for line in lines]
