"""Several texts in one row of tokens: nothing is padded in vain.

Shapes: `R` rows, `T` tokens of a row, `N` texts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from gpt2_jax.engine.widths import next_width, widths_up_to

# Tokens per call: enough for fast matmuls, few enough to stay in a core's cache; or, on
# a device that is fed by the host, enough to outlast the starting of the next call.
CALL_TOKENS = 2048

DEVICE_CALL_TOKENS = 16384


# Texts of one class of length share rows, so that short ones do not pay for the
# attention over rows as wide as the longest text.
CLASSES = (192, 384, 768)


@dataclasses.dataclass(frozen=True)
class Packed:
    """Rows of whole texts, one after the other; what is left over belongs to none."""

    texts: Int[np.ndarray, " N"]  # in the order in which they lie in the rows
    # 0 is no text, the texts of a row count from 1.
    segments: Int[np.ndarray, "R T"]
    positions: Int[np.ndarray, "R T"]  # within each text


def call_tokens(platform: str) -> int:
    """Return how many tokens a device of `platform` (cpu, gpu, tpu) takes at once."""
    return CALL_TOKENS if platform == "cpu" else DEVICE_CALL_TOKENS


def pack(lengths: Int[np.ndarray, " N"], limit: int, tokens: int) -> Iterator[Packed]:
    """Yield packed rows of all texts, in calls of about `tokens` tokens.

    `limit` bounds every length. All calls of a class of length have one shape.
    """
    kinds = np.searchsorted(CLASSES, lengths)
    for kind in np.unique(kinds):
        texts = np.flatnonzero(kinds == kind)
        width = next_width(int(lengths[texts].max()), widths_up_to(limit))
        rows = _fill_rows(texts, lengths, width)
        size = batch_size(len(rows), width, tokens)
        for start in range(0, len(rows), size):
            yield _lay_out(rows[start : start + size], lengths, size, width)


def batch_size(num_rows: int, width: int, tokens: int) -> int:
    """Return how many rows of `width` tokens one call takes: few sizes to compile."""
    return min(max(tokens // width, 1), 1 << max(num_rows - 1, 0).bit_length())


def _fill_rows(
    texts: np.ndarray, lengths: np.ndarray, width: int
) -> list[list[np.intp]]:
    """Put each text, the longest first, into the row that it fills best."""
    rows: list[list[np.intp]] = []
    by_space: list[list[list[np.intp]]] = [[] for _ in range(width + 1)]
    for text in texts[np.argsort(-lengths[texts], kind="stable")]:
        length = int(lengths[text])
        space = next((s for s in range(length, width) if by_space[s]), width)
        if space == width:
            rows.append([])
        row = rows[-1] if space == width else by_space[space].pop()
        row.append(text)
        by_space[space - length].append(row)
    return rows


def _lay_out(
    rows: Sequence[Sequence[np.intp]], lengths: np.ndarray, size: int, width: int
) -> Packed:
    segments = np.zeros((size, width), np.int32)
    positions = np.zeros((size, width), np.int32)
    for index, row in enumerate(rows):
        sizes = lengths[list(row)]
        used = int(sizes.sum())
        segments[index, :used] = np.repeat(np.arange(1, len(row) + 1), sizes)
        positions[index, :used] = np.concatenate([np.arange(n) for n in sizes])
    return Packed(np.concatenate([np.asarray(r) for r in rows]), segments, positions)
