"""What looks wrong with labelled texts, as notes for the user to read."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def rename_flag(old: str, new: str) -> str:
    """Return the flag that renames a label, as it is typed on a command line."""
    between = "=" if old.startswith("-") else " "  # else taken for a flag
    return f"--rename-label{between}{shlex.quote(f'{old}={new}')}"


def near_duplicate_labels(classes: Sequence[str]) -> list[str]:
    """Return a note for each set of labels that may be meant as one.

    Labels are compared as exact strings: `Spam` and `spam` are two classes, and so are
    `1`, `1.0` and `True`.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        alike[_plain(name)].append(name)
    return [
        f"the labels {', '.join(map(repr, names))} are {len(names)} classes; write "
        "them alike if they mean one ("
        f"{' '.join(rename_flag(name, names[-1]) for name in names[:-1])})"
        for names in alike.values()
        if len(names) > 1
    ]


def conflicting_texts(texts: Sequence[str], labels: Sequence[int]) -> list[str]:
    """Return a note if the same text stands with several labels."""
    seen: dict[str, set[int]] = defaultdict(set)
    for text, label in zip(texts, labels, strict=True):
        seen[text].add(label)
    number = sum(len(labels) > 1 for labels in seen.values())
    return [f"{number} texts stand with more than one label"] if number else []


def shared_texts(texts: Sequence[str], parts: Mapping[str, np.ndarray]) -> list[str]:
    """Return a note for each part after the first that shares texts with one before."""
    notes = []
    names = list(parts)
    for i, name in enumerate(names):
        for before in names[:i]:
            there = {texts[row] for row in parts[before]}
            number = sum(texts[row] in there for row in parts[name])
            if number:
                notes.append(
                    f"{number} of {len(parts[name])} {name} texts stand in the "
                    f"{before} part too"
                )
    return notes


REPEATED = "repeated_texts.csv"  # of a run


@dataclasses.dataclass(frozen=True)
class Repeated:
    """A text that stands with more than one label, or in more than one part."""

    text: str
    labels: tuple[str, ...]  # of each time that it stands there
    parts: tuple[str, ...]  # "": left out


def repeated_texts(
    texts: Sequence[str], labels: Sequence[str], parts: Mapping[str, np.ndarray]
) -> list[Repeated]:
    """Return the texts that stand with several labels or in several parts.

    Args:
        texts, labels: of all rows.
        parts: the rows of each part.
    """
    part_of_row = {row: name for name, rows in parts.items() for row in rows.tolist()}
    places: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        places[text].append(row)
    found = []
    for text, rows in places.items():
        where = tuple(part_of_row.get(row, "") for row in rows)
        named = tuple(labels[row] for row in rows)
        if len(set(named)) > 1 or len(set(where) - {""}) > 1:
            found.append(Repeated(text, named, where))
    return found


def write_repeated_texts(path: Path, repeated: Sequence[Repeated]) -> None:
    """Write a CSV of text, labels and parts, these as JSON lists, in their order."""
    with path.open(
        "w", newline="", encoding="utf-8", errors="backslashreplace"
    ) as file:
        writer = csv.writer(file)
        writer.writerow(["text", "labels", "parts"])
        for each in repeated:
            lists = (
                json.dumps(v, ensure_ascii=False) for v in (each.labels, each.parts)
            )
            writer.writerow([each.text, *lists])


def shortened(names: Sequence[str], limit: int = 10) -> str:
    """Return the first names, and how many there are beside them."""
    shown = ", ".join(names[:limit])
    more = len(names) - limit
    return f"{shown} and {more} more" if more > 0 else shown


def counted(counts: Mapping[str, int], limit: int = 10) -> str:
    """Return "3 ham, 2 spam"; of many classes how many texts the smallest has."""
    if len(counts) <= limit:
        return ", ".join(f"{count} {name}" for name, count in counts.items())
    least, most = (pick(counts, key=counts.__getitem__) for pick in (min, max))
    return (
        f"{len(counts)} classes, from {counts[least]} {least} to {counts[most]} {most}"
    )


def distinct_rows(texts: Sequence[str], parts: Sequence[str] | None) -> np.ndarray:
    """Return the rows [n] that keep each text once.

    Where parts are given, a text stays in test rather than in validation, and there
    rather than in training: what is measured stays whole. Else the first one stays.
    """
    order = np.arange(len(texts))
    if parts is not None:
        rank = {"test": 0, "validation": 1, "train": 2}
        order = np.argsort([rank[part] for part in parts], kind="stable")
    first: dict[str, int] = {}
    for row in order.tolist():
        first.setdefault(texts[row], row)
    return np.sort(np.asarray(list(first.values()), np.int64))


def _plain(label: str) -> str:
    """Return what labels that mean the same have in common."""
    plain = re.sub(r"[\s_-]+", " ", label).strip().casefold()
    plain = {"true": "1", "false": "0"}.get(plain, plain)
    try:
        return repr(float(plain))
    except ValueError:
        return plain
