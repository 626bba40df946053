"""What the steps read of each text, laid end to end, without padding.

Shapes: `S` tokens of all texts, `N` texts, `D` embed_dim.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpt2_jax.engine.widths import next_width, widths_up_to
from gpt2_jax.tokenizer import END_OF_TEXT, encode

Data = dict[str, Any]  # host or device arrays by name; see `Inputs.data`


# Widths of batches of texts. To compile a step costs more than to pad it a little.
WIDTHS = (32, 64, 128, 256, 512)


WORTH_COMPILING = 1 / 8  # of all steps


# Steps that one call can take. The losses come back in an array of this size, and the
# number of steps is an argument: a chunk of any length is the same program.
MAX_STEPS = 64


CALL_BYTES = 64 << 20  # of batches that a call copies to the devices


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Texts as tokens, or as what the frozen trunk made of them.

    Equal texts may lie in the same place.
    """

    values: np.ndarray  # int32 [S] tokens, or [S, D] trunk outputs
    starts: np.ndarray  # int32 [N]
    lengths: np.ndarray  # int32 [N]
    labels: np.ndarray  # int32 [N]
    weights: np.ndarray  # float32 [N], of each text in the loss
    widths: tuple[int, ...]  # that batches are padded to; the last holds every text
    # Rows of train, validation and test.
    parts: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lengths)

    def width(self, rows: np.ndarray) -> int:
        """Return the padded width of a batch of `rows`."""
        return next_width(int(self.lengths[rows].max()), self.widths)

    def narrow(self, batches: np.ndarray) -> Inputs:
        """Keep only the widths that enough of `batches` [S, B] have."""
        used = [self.width(rows) for rows in batches]
        kept = [w for w in self.widths if used.count(w) >= WORTH_COMPILING * len(used)]
        widths = tuple(sorted({*kept, self.widths[-1]}))
        return dataclasses.replace(self, widths=widths)

    @property
    def data(self) -> Data:
        """The arrays that `steps.gather` makes batches of."""
        names = ("values", "starts", "lengths", "labels", "weights")
        return {name: getattr(self, name) for name in names}

    def select(self, rows: np.ndarray) -> Inputs:
        """Return the texts of `rows`, as one whole."""
        fields = ("starts", "lengths", "labels", "weights")
        chosen = {name: getattr(self, name)[rows] for name in fields}
        return dataclasses.replace(self, **chosen, parts={})

    def tokens_of(self, row: int) -> np.ndarray:
        """Return the values of one text."""
        return self.values[self.starts[row] : self.starts[row] + self.lengths[row]]

    def batches(self, rows: np.ndarray, width: int) -> dict[str, np.ndarray]:
        """Return the batches of `rows` [..., B], as `steps.gather` makes one of [B].

        They are read from memory or disk.
        """
        index = self.starts[rows][..., None] + np.arange(width)  # [..., B, T]
        values = self.values[np.minimum(index, len(self.values) - 1)]
        return {
            "features" if self.values.ndim == 2 else "tokens": values,
            "lengths": self.lengths[rows],
            "labels": self.labels[rows],
            "weights": self.weights[rows],
        }

    def most_steps(self, batch_size: int, width: int) -> int:
        """Return how many steps' batches one call copies to the devices."""
        step_bytes = batch_size * width * self.values[0].nbytes
        return min(max(CALL_BYTES // step_bytes, 1), MAX_STEPS)


def lay_out(examples: Examples, class_weights: np.ndarray, *, padded: bool) -> Inputs:
    """Lay the tokens of all texts end to end, equal texts once.

    `padded` keeps the padding, for the pool that reads it.
    """
    lengths = examples.lengths
    if padded:
        lengths = np.full_like(lengths, examples.tokens.shape[1])
    places: dict[bytes, int] = {}  # of each distinct text
    place = [
        places.setdefault(row[:length].tobytes(), len(places))
        for row, length in zip(examples.tokens, lengths, strict=True)
    ]
    sizes = np.asarray([len(text) // 4 for text in places], np.int32)
    values = np.frombuffer(b"".join(places), np.int32)
    return Inputs(
        values=values,
        starts=(np.cumsum(sizes, dtype=np.int32) - sizes)[place],
        lengths=lengths,
        labels=examples.labels,
        weights=class_weights[examples.labels],
        widths=widths_up_to(examples.tokens.shape[1], WIDTHS),
    )


def join(examples: Mapping[str, Examples]) -> tuple[Examples, dict[str, np.ndarray]]:
    """Return all parts as one, and the rows of each; they must be of one width."""
    parts = list(examples.values())
    ends = np.cumsum([len(part) for part in parts])
    whole = Examples(
        tokens=np.concatenate([part.tokens for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        cut=sum(part.cut for part in parts),
        empty=sum(part.empty for part in parts),
    )
    rows = {
        name: np.arange(end - len(part), end)
        for (name, part), end in zip(examples.items(), ends, strict=True)
    }
    return whole, rows


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
