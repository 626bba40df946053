"""Texts end to end, without padding: from the tokenizer to the batch.

Shapes: `S` tokens of all texts, `N` texts, `T` tokens of a batch, `D` embed_dim.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float, Int

from gpt2_jax.engine.long import first_pieces
from gpt2_jax.engine.packing import CALL_TOKENS, Pack, choose_packs, next_pack
from gpt2_jax.engine.widths import by_tokens, filled, next_width, widths_up_to
from gpt2_jax.tokenizer import END_OF_TEXT

Data = dict[str, Any]  # host or device arrays by name; see `Texts.data`

# Widths of batches of texts. To compile a step costs more than to pad it a little.
WIDTHS = (32, 64, 128, 256, 512)
WORTH_COMPILING = 1 / 8  # of all steps

# Steps that one call can take. The losses come back in an array of this size, and the
# number of steps is an argument: a chunk of any length is the same program.
MAX_STEPS = 64
CALL_BYTES = 64 << 20  # of batches that a call copies to the devices

# The arrays that a trunk reads, and those that only a step does.
READ, LEARNED = ("values", "starts", "lengths"), ("labels", "loss_weights")


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts as tokens, or as what the frozen trunk made of them.

    Equal texts may lie in the same place.
    """

    # Tokens, or trunk outputs: of the host, or left on the device that made them.
    values: Int[np.ndarray, " S"] | Float[np.ndarray | Array, "S D"]
    starts: Int[np.ndarray, " N"]  # of each text in the values
    lengths: Int[np.ndarray, " N"]  # at least 1
    labels: Int[np.ndarray, " N"]
    loss_weights: Float[np.ndarray, " N"]  # of each text in the loss
    widths: tuple[int, ...]  # that batches are padded to; the last holds every text
    # Rows of train, validation and test.
    parts: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    packs: tuple[Pack, ...] = ()  # that batches are packed in; none: they are padded
    pack_size: int = 0  # texts of such a batch, where it is only scored
    # Which text each is a piece of, pieces side by side; None: each is a whole one.
    owners: Int[np.ndarray, " N"] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def width(self, rows: np.ndarray) -> int:
        """Return the padded width of a batch of `rows`."""
        return next_width(int(self.lengths[rows].max()), self.widths)

    def pack(self, rows: np.ndarray) -> Pack | None:
        """Return the shape that the batch of `rows` is packed in, if it is."""
        return next_pack(self.lengths[rows], self.packs)

    def pieces_of(self, rows: np.ndarray) -> np.ndarray:
        """Return which text each of `rows` is a piece of; see `long`."""
        return np.arange(len(rows)) if self.owners is None else self.owners[rows]

    def labels_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the class of each text that `rows` are the pieces of."""
        return self.labels[rows[first_pieces(self.pieces_of(rows))]]

    def narrow(self, batches: np.ndarray, packed_steps: int = 0) -> Texts:
        """Keep only the widths that enough of `batches` [S, B] have.

        Args:
            packed_steps: how many steps will take their texts packed.
        """
        if packed_steps:  # what fits no pack is padded
            packs = choose_packs(self.lengths[batches], self.widths, packed_steps)
            alone = choose_packs(self.lengths[:, None], self.widths, len(self))
            widths = tuple(pack.width for pack in alone)
            # Calls that only score take as many texts as fill them.
            calls = max(CALL_TOKENS // (packs[0].num * packs[0].width), 1)
            size = calls * batches.shape[1]
            scored = np.stack([*self._scored(size)])
            more = choose_packs(self.lengths[scored], self.widths, len(scored))
            packs = tuple(
                sorted({*packs, *more}, key=lambda pack: pack.num * pack.width)
            )
            return dataclasses.replace(self, widths=widths, packs=packs, pack_size=size)
        used = [self.width(rows) for rows in batches]
        kept = [w for w in self.widths if used.count(w) >= WORTH_COMPILING * len(used)]
        return dataclasses.replace(self, widths=tuple(sorted({*kept, self.widths[-1]})))

    def _scored(self, size: int) -> Iterator[np.ndarray]:
        """Yield the rows of each batch of `size` that parts are scored in."""
        for rows in self.parts.values() or [np.arange(len(self))]:
            for chosen, _, _ in by_tokens(self.lengths[rows], self.widths, size):
                yield filled(rows[chosen], size)

    @property
    def data(self) -> Data:
        """The arrays that `forward.gather` makes batches of."""
        return {name: getattr(self, name) for name in (*READ, *LEARNED)}

    @property
    def padded_data(self) -> Data:
        """The same with one row more, of weight 0, that batches are padded with."""
        more = {"starts": 0, "lengths": 1, "labels": 0, "loss_weights": 0}
        data = self.data
        return data | {
            name: np.append(data[name], data[name].dtype.type(value))
            for name, value in more.items()
        }

    def fingerprint(self, *names: str) -> str:
        """Return a hash of the arrays of these names."""
        digest = hashlib.sha256()
        for name in names:
            digest.update(np.ascontiguousarray(getattr(self, name)).data)
        return digest.hexdigest()

    def learned_as(self, texts: Texts) -> Texts:
        """Return these texts with the labels, weights and parts of `texts`."""
        names = (*LEARNED, "parts", "owners", "packs", "pack_size")
        fields = {name: getattr(texts, name) for name in names}
        return dataclasses.replace(self, **fields)

    def select(self, rows: np.ndarray) -> Texts:
        """Return the texts of `rows`, as one whole."""
        fields = ("starts", "lengths", "labels", "loss_weights")
        chosen = {name: getattr(self, name)[rows] for name in fields}
        return dataclasses.replace(self, **chosen, parts={}, packs=(), owners=None)

    def tokens_of(self, row: int | np.integer) -> np.ndarray:
        """Return the values of one text."""
        start = self.starts[row]
        return np.asarray(self.values)[start : start + self.lengths[row]]

    def batches(self, rows: np.ndarray, width: int) -> dict[str, np.ndarray]:
        """Return the batches of `rows` [..., B], as `forward.gather` makes one of [B].

        They are read from memory or disk.
        """
        index = self.starts[rows][..., None] + np.arange(width)  # [..., B, T]
        values = np.asarray(self.values)[np.minimum(index, len(self.values) - 1)]
        return {
            "features" if self.values.ndim == 2 else "tokens": values,
            "lengths": self.lengths[rows],
            "labels": self.labels[rows],
            "loss_weights": self.loss_weights[rows],
        }

    def most_steps(self, batch_size: int, width: int) -> int:
        """Return how many steps' batches one call copies to the devices."""
        step_bytes = batch_size * width * self.values[0].nbytes
        return min(max(CALL_BYTES // step_bytes, 1), MAX_STEPS)


def lay_out(
    encoded: Sequence[Sequence[int]],
    *,
    limit: int,
    padded: bool = False,
    pad_id: int = END_OF_TEXT,
    labels: Sequence[int] | np.ndarray | None = None,
    class_weights: np.ndarray | None = None,
    longest: int | None = None,
) -> Texts:
    """Lay texts end to end, equal ones once; what is longer than `limit` is cut.

    Args:
        encoded: the token ids of each text, at least one.
        padded: pad each text to `limit` tokens, for the pool that reads the padding.
        pad_id: the token that it is padded with.
        labels: of each text; None: all 0.
        class_weights: float32 [C], what a text of each class weighs in the loss.
        longest: the last width of batches; None: the tokens of the longest text. One
            bound for all calls keeps the shapes of their batches few.
    """
    places: dict[bytes, int] = {}  # of each distinct text
    fill = pad_id if padded else None
    place = [
        places.setdefault(_cut(ids, limit, fill).tobytes(), len(places))
        for ids in encoded
    ]
    values = np.frombuffer(b"".join(places), np.int32)
    sizes = np.asarray([len(text) // values.itemsize for text in places], np.int32)
    lengths = sizes[place]
    classes = np.zeros(len(lengths), np.int32)
    if labels is not None:
        classes = np.asarray(labels, np.int32)
    weights = np.ones(len(lengths), np.float32)
    if class_weights is not None:
        weights = class_weights[classes]
    return Texts(
        values=values,
        starts=(np.cumsum(sizes, dtype=np.int32) - sizes)[place],
        lengths=lengths,
        labels=classes,
        loss_weights=weights,
        widths=widths_up_to(longest or int(sizes.max()), WIDTHS),
    )


def _cut(ids: Sequence[int], limit: int, pad_id: int | None) -> np.ndarray:
    cut = np.asarray(ids[:limit], np.int32)
    if pad_id is None:
        return cut
    return np.pad(cut, (0, limit - len(cut)), constant_values=pad_id)


def pad(
    encoded: Sequence[Sequence[int]], width: int, pad_id: int = END_OF_TEXT
) -> Int[np.ndarray, "N T"]:
    """Return int32: the first `width` tokens of each text, padded to them."""
    return np.stack([_cut(ids, width, pad_id) for ids in encoded])
