"""Bits flipped, files cut, deleted and swapped, blocks swapped; and undone."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("flip", "cut", "delete", "swap blocks", "swap files")


@dataclasses.dataclass(frozen=True)
class Target:
    """What lies in `folder`, and a way to read it.

    What is read is returned as something to compare.
    """

    folder: Path
    read: Callable[[], Any]
    tries: int  # of the 2,000


@contextlib.contextmanager
def damaged(folder: Path, kind: str, random: np.random.Generator) -> Iterator[str]:
    """Damage a file of `folder`, or two, at random; yield what was done."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    # Large files are hit more often, and small ones often enough.
    weights = np.asarray([path.stat().st_size for path in paths], float) ** 0.25 + 1
    chosen = random.choice(
        len(paths), min(2, len(paths)), replace=False, p=weights / weights.sum()
    )
    before = {paths[index]: paths[index].read_bytes() for index in chosen}
    path, *others = before
    after, what = _changed(before[path], kind, random)
    if kind == "swap files" and others:
        after, what = before[others[0]], f"with {others[0].relative_to(folder)}"
        others[0].write_bytes(before[path])
    if after is None:
        path.unlink()
    else:
        path.write_bytes(after)
    try:
        yield f"{kind}: {path.relative_to(folder)} {what}"
    finally:
        for each, whole in before.items():
            each.write_bytes(whole)


def _changed(
    content: bytes, kind: str, random: np.random.Generator
) -> tuple[bytes | None, str]:
    """Return other content, None for none at all, and what is other."""
    if kind == "delete" or not content:
        return None, ""
    if kind == "cut":
        size = int(random.integers(len(content)))
        return content[:size], f"after {size} of {len(content)} bytes"
    if kind == "swap blocks" and len(content) > 1:
        size = int(random.integers(1, min(64, len(content) // 2) + 1))
        left = int(random.integers(0, len(content) - 2 * size + 1))
        right = int(random.integers(left + size, len(content) - size + 1))
        ends = left + size, right + size
        parts = (
            content[right : ends[1]],
            content[ends[0] : right],
            content[left : ends[0]],
        )
        swapped = content[:left] + b"".join(parts) + content[ends[1] :]
        if swapped != content:
            return swapped, f"{size} bytes at {left} and {right}"
    place = int(random.integers(8 * len(content)))
    flipped = bytearray(content)
    flipped[place // 8] ^= 1 << place % 8
    return bytes(flipped), f"bit {place}"
