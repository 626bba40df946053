"""Texts -> token arrays -> rows of batches in an order set by (seed, epoch)."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

import numpy as np

# Widths that batches are padded to: few to compile, close enough to waste little.
BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


def next_width(length: int, widths: Sequence[int]) -> int:
    """Return the first of the ascending `widths` that holds `length` tokens."""
    return widths[bisect.bisect_left(widths, length)]


def widths_up_to(limit: int, widths: Sequence[int] = BUCKETS) -> tuple[int, ...]:
    """Return those of `widths` that are below `limit`, and `limit`."""
    return (*(width for width in widths if width < limit), limit)


def epoch_order(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the examples in `epoch`: a function of its arguments."""
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def epoch_rows(num_examples: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Return the rows of each training batch, [S, B]; the ragged last is dropped."""
    order = epoch_order(num_examples, seed, epoch)
    return order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)


def by_length(
    lengths: np.ndarray, widths: Sequence[int], max_tokens: int
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield all rows in batches of like length, the longest first.

    With each come the one of `widths` that its texts are padded to and the rows of a
    whole batch, as many as `max_tokens` hold; the last may be ragged.
    """
    order, start = np.argsort(-lengths, kind="stable"), 0
    whole = 1 << max(len(order) - 1, 0).bit_length()
    while start < len(order):
        width = next_width(int(lengths[order[start]]), widths)
        size = min(max(max_tokens // width, 1), whole)
        yield order[start : start + size], width, size
        start += size


def by_tokens(
    lengths: np.ndarray, widths: Sequence[int], size: int
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield all rows in batches of `size` that have about as many tokens each.

    With each come the width and the size, as from `by_length`.
    """
    order, num = np.argsort(-lengths, kind="stable"), -(-len(lengths) // size)
    for start in range(num):
        chosen = order[start::num]
        yield chosen, next_width(int(lengths[chosen[0]]), widths), size


def filled(rows: np.ndarray, size: int) -> np.ndarray:
    """Return as many rows as a batch of `size` has: the last again and again."""
    return np.pad(rows, (0, size - len(rows)), mode="edge")
