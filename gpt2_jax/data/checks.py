"""What looks wrong with labelled texts, as notes for the user to read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np


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
        "them alike if they mean one"
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
