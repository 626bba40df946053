"""Texts -> padded token arrays -> batches in an order set by (seed, epoch)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from gpt2_jax.tokenizer import END_OF_TEXT, encode

Batch = dict[str, np.ndarray]

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
        empty=sum(not text for text in texts),
    )


def widen(examples: Examples, width: int) -> Examples:
    """Return `examples` padded to `width` tokens."""
    missing = width - examples.tokens.shape[1]
    tokens = np.pad(
        examples.tokens, ((0, 0), (0, missing)), constant_values=END_OF_TEXT
    )
    return dataclasses.replace(examples, tokens=tokens)


def bucket_width(longest: int, max_length: int) -> int:
    """Return the padded width for texts of up to `longest` tokens."""
    for width in BUCKETS:
        if longest <= width <= max_length:
            return width
    return max_length


def make_batch(
    examples: Examples, rows: np.ndarray, *, trim: bool, size: int | None = None
) -> Batch:
    """Gather `rows` into one batch, filled up to `size` rows of weight 0.

    `trim` cuts the padding down to a bucket; the pool `last` reads the padding, so
    there it must stay.
    """
    lengths = examples.lengths[rows]
    width = examples.tokens.shape[1]
    if trim:
        width = bucket_width(int(lengths.max()), width)
    batch = {
        "tokens": examples.tokens[rows, :width],  # [B, T]
        "lengths": lengths,
        "labels": examples.labels[rows],
        "weights": np.ones(len(rows), np.float32),
    }
    return fill(batch, size) if size else batch


def fill(batch: Batch, size: int) -> Batch:
    """Repeat the last row, at weight 0, until the batch has `size` rows."""
    missing = size - len(batch["weights"])
    filled = {
        name: np.concatenate([value, np.repeat(value[-1:], missing, axis=0)])
        for name, value in batch.items()
    }
    filled["weights"][size - missing :] = 0.0
    return filled


def epoch_order(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the examples in `epoch`: a function of its arguments."""
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def epoch_rows(
    num_examples: int, batch_size: int, seed: int, epoch: int
) -> Iterator[np.ndarray]:
    """Yield the rows of each training batch; the last, ragged one is dropped."""
    order = epoch_order(num_examples, seed, epoch)
    for start in range(0, num_examples - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def by_length(lengths: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Yield all rows, texts of like length together, the last batch ragged."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
