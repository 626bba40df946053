"""Texts -> token arrays -> rows of batches in an order set by (seed, epoch)."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from gpt2_jax.tokenizer import END_OF_TEXT, encode

# Widths that batches are padded to: few to compile, close enough to waste little.
BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Encoded texts; T is the widest that any of them may become."""

    tokens: np.ndarray  # int32 [N, T], padded with END_OF_TEXT
    lengths: np.ndarray  # int32 [N], at least 1
    labels: np.ndarray  # int32 [N]
    cut: int  # texts that were longer than T
    empty: int  # texts without a token, read as one END_OF_TEXT

    def __len__(self) -> int:
        return len(self.lengths)


def encode_examples(
    texts: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    *,
    max_length: int | None,
    limit: int,
) -> Examples:
    """Encode and pad `texts` to `max_length`, or to the longest of them.

    `limit` is the number of positions that the model has; longer texts are cut.
    """
    encoded = [encode(text) for text in texts]
    return pad_examples(encoded, labels, max_length=max_length, limit=limit)


def pad_examples(
    encoded: Sequence[Sequence[int]],
    labels: Sequence[int] | np.ndarray,
    *,
    max_length: int | None,
    limit: int,
) -> Examples:
    """Pad texts that are encoded already, as `encode_examples` does."""
    longest = max((len(ids) for ids in encoded), default=1)
    width = min(max_length or longest, limit)
    tokens = np.full((len(encoded), width), END_OF_TEXT, np.int32)
    lengths = np.asarray([min(len(ids), width) for ids in encoded], np.int32)
    for row, ids in zip(tokens, encoded, strict=True):
        row[: len(ids)] = ids[:width]
    return Examples(
        tokens=tokens,
        lengths=lengths,
        labels=np.asarray(labels, np.int32),
        cut=sum(len(ids) > width for ids in encoded),
        empty=sum(ids == [END_OF_TEXT] for ids in encoded),  # no text has that id
    )


def widen(examples: Examples, width: int) -> Examples:
    """Return `examples` padded to `width` tokens."""
    missing = width - examples.tokens.shape[1]
    tokens = np.pad(
        examples.tokens, ((0, 0), (0, missing)), constant_values=END_OF_TEXT
    )
    return dataclasses.replace(examples, tokens=tokens)


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
