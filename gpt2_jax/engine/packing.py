"""Several texts in one row of tokens: nothing is padded in vain.

Shapes: `R` rows, `T` tokens of a row, `N` texts.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from gpt2_jax.engine.widths import next_width, widths_up_to

# Tokens per call: enough for fast matmuls, few enough to stay in a core's cache; or, on
# a device that is fed by the host, enough to outlast the starting of the next call.
CALL_TOKENS = 2048

DEVICE_CALL_TOKENS = 16384


# Texts of one class of length share rows, so that short ones do not pay for the
# attention over rows as wide as the longest text, but where these have space left.
CLASSES = (192, 384, 768)

# Tokens whose steps a CPU takes in the time that another shape takes to compile.
WORTH_TOKENS = 50_000


class Pack(NamedTuple):
    """Rows that the texts of a batch lie in."""

    num: int
    width: int


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

    `limit` bounds every length. All calls of a class of length have one shape, the
    longest class comes first, and shorter texts fill what it leaves.
    """
    kinds, left = np.searchsorted(CLASSES, lengths), np.arange(len(lengths))
    while len(left):
        kind = kinds[left].max()
        texts, shorter = left[kinds[left] == kind], left[kinds[left] < kind]
        width = next_width(int(lengths[texts].max()), widths_up_to(limit))
        rows, left = _fill_rows(texts, shorter, lengths, width)
        size = batch_size(len(rows), width, tokens)
        for start in range(0, len(rows), size):
            yield _lay_out(rows[start : start + size], lengths, size, width)


def batch_size(num_rows: int, width: int, tokens: int) -> int:
    """Return how many rows of `width` tokens one call takes: few sizes to compile."""
    return min(max(tokens // width, 1), 1 << max(num_rows - 1, 0).bit_length())


def place_texts(
    lengths: Int[np.ndarray, " B"], width: int
) -> tuple[Int[np.ndarray, " B"], int]:
    """Put each text of a batch, the longest first, into the first row that has room.

    Returns where each begins in the rows of `width` end to end, and how many rows.
    """
    begins, used = np.zeros(len(lengths), np.int32), []
    sizes = lengths.tolist()
    for text in sorted(range(len(sizes)), key=lambda text: -sizes[text]):
        rows = (r for r, filled in enumerate(used) if filled + sizes[text] <= width)
        row = next(rows, len(used))
        if row == len(used):
            used.append(0)
        begins[text] = row * width + used[row]
        used[row] += sizes[text]
    return begins, len(used)


def next_pack(lengths: Int[np.ndarray, " B"], packs: Sequence[Pack]) -> Pack | None:
    """Return the first of `packs` that texts of these lengths fit into."""
    needed: dict[int, int] = {}
    for pack in packs:
        if pack.width not in needed:
            needed[pack.width] = _rows_needed(lengths, pack.width)
        if needed[pack.width] <= pack.num:
            return pack
    return None


def choose_packs(
    lengths: Int[np.ndarray, "S B"], widths: Sequence[int], num_steps: int
) -> tuple[Pack, ...]:
    """Return the shapes to pack batches in, the smallest first.

    One holds every batch; of the others each spares the `num_steps` steps, of which
    `lengths` are some, more tokens than it is worth not to compile it.
    """
    needed = np.asarray([[_rows_needed(b, width) for width in widths] for b in lengths])
    kept = [Pack(int(needed[:, -1].max()), widths[-1])]
    tokens = np.full(len(lengths), kept[0].num * kept[0].width)  # of each step
    others = {
        Pack(int(num), width): rows <= num
        for width, rows in zip(widths, needed.T, strict=True)
        for num in np.unique(rows[rows <= lengths.shape[1]])
    }
    while True:
        spared = {
            pack: np.maximum(tokens - pack.num * pack.width, 0)[fits].sum()
            for pack, fits in others.items()
        }
        best = max(spared, key=lambda pack: spared[pack])
        if spared[best] * num_steps < WORTH_TOKENS * len(lengths):
            return tuple(sorted(kept, key=lambda pack: pack.num * pack.width))
        kept.append(best)
        small = np.minimum(tokens, best.num * best.width)
        tokens = np.where(others[best], small, tokens)


def _rows_needed(lengths: Int[np.ndarray, " B"], width: int) -> int:
    """Return in how many rows `place_texts` puts these; one too many if in none."""
    if lengths.max() > width:
        return len(lengths) + 1
    return place_texts(lengths, width)[1]


def _fill_rows(
    texts: np.ndarray, fillers: np.ndarray, lengths: np.ndarray, width: int
) -> tuple[list[list[np.intp]], np.ndarray]:
    """Put each text, the longest first, into the row that it fills best.

    Then `fillers`, where there is space; returns the rows, and those that found none.
    """
    rows: list[list[np.intp]] = []
    spaces: list[tuple[int, int]] = []  # of each row that has any, in order

    def place(text: np.intp) -> bool:
        length = int(lengths[text])
        found = bisect.bisect_left(spaces, (length, 0))
        if found == len(spaces):
            return False
        space, row = spaces.pop(found)
        rows[row].append(text)
        if space > length:
            bisect.insort(spaces, (space - length, row))
        return True

    for text in texts[np.argsort(-lengths[texts], kind="stable")]:
        if not place(text):
            rows.append([])
            spaces.append((width, len(rows) - 1))
            place(text)
    longest_first = fillers[np.argsort(-lengths[fillers], kind="stable")]
    left = [text for text in longest_first if not place(text)]
    return rows, np.asarray(left, np.intp)


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
