"""How a text is read that has more tokens than the model reads at once: its pieces.

Shapes: `P` pieces of `N` texts, `C` columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from gpt2_jax.config import Long

# Of a window that the one before it has read too: no sentence is cut in both.
OVERLAP = 1 / 4


def pieces(ids: Sequence[int], limit: int, long: Long) -> list[Sequence[int]]:
    """Return what is read of a text, in pieces of up to `limit` tokens.

    `cut` reads its beginning, `head_tail` its first and last halves of `limit` (Sun et
    al. 2019, "How to Fine-Tune BERT for Text Classification?", section 5.3.1), and
    `windows` all of it, in windows that overlap; the last of these ends with the text.
    """
    if len(ids) <= limit:
        return [ids]
    if long == "cut":
        return [ids[:limit]]
    if long == "head_tail":
        tail = limit // 2
        return [[*ids[: limit - tail], *ids[len(ids) - tail :]]]
    stride = max(limit - int(OVERLAP * limit), 1)
    starts = [*range(0, len(ids) - limit, stride), len(ids) - limit]
    return [ids[start : start + limit] for start in starts]


def all_pieces(
    encoded: Sequence[Sequence[int]], limit: int, long: Long
) -> tuple[list[Sequence[int]], Int[np.ndarray, " P"]]:
    """Return the pieces of all texts, and which text each is of."""
    found = [pieces(ids, limit, long) for ids in encoded]
    owners = np.repeat(np.arange(len(found)), [len(some) for some in found])
    return [piece for some in found for piece in some], owners


def first_pieces(owners: Int[np.ndarray, " P"]) -> Int[np.ndarray, " N"]:
    """Return where each text begins; its pieces lie side by side."""
    return np.flatnonzero(np.diff(owners, prepend=-1))


def mean_of_pieces(
    rows: Float[np.ndarray, "P C"], owners: Int[np.ndarray, " P"]
) -> Float[np.ndarray, "N C"]:
    """Return the mean over the pieces of each text."""
    first = first_pieces(owners)
    if len(first) == len(rows):
        return rows
    counts = np.diff(first, append=len(rows))
    return np.add.reduceat(rows, first) / counts[:, None].astype(rows.dtype)
