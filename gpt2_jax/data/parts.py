"""The names of the parts of a split."""

from __future__ import annotations

import re

PARTS = ("train", "validation", "test")

_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def is_part(name: str) -> bool:
    """Is it the name of a part, and nothing else?"""
    return name.strip().lower() in _NAMES


def part_of(name: str) -> str | None:
    """Return which part of a split `name` means, as `dev` or `oos_val`; None: none."""
    plain = name.strip().lower()
    if plain in _NAMES:
        return _NAMES[plain]
    found = {_NAMES[word] for word in re.split(r"[-_. ]", plain) if word in _NAMES}
    return found.pop() if len(found) == 1 else None
