"""Documents end to end, cut into sequences for a language model.

Shapes: `B` sequences, `T` tokens.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Integer


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Sequences of T tokens, and the one after each of them.

    They lie end to end in a shard, whatever documents they cut; what is left at the
    end of a shard is not used.
    """

    shards: tuple[Integer[np.ndarray, " _"], ...]
    length: int  # T

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def _ends(self) -> np.ndarray:
        counts = [max(len(shard) - 1, 0) // self.length for shard in self.shards]
        return np.cumsum(counts)

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Return the sequences of `indices` [B] as int32 [B, T + 1]."""
        ends = self._ends
        places = np.searchsorted(ends, indices, side="right")
        starts = (indices - np.concatenate([[0], ends])[places]) * self.length
        return np.stack(
            [
                self.shards[place][start : start + self.length + 1].astype(np.int32)
                for place, start in zip(places, starts, strict=True)
            ]
        )


def step_sequences(count: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """Return which of `count` sequences [B] make the batch of `step`.

    Each epoch is a permutation of its own, and epochs follow one another without a gap:
    a function of the step alone, so that a resumed run goes on with the same batches.
    """
    place = step * batch_size + np.arange(batch_size)
    epochs = place // count
    orders = {
        epoch: np.random.default_rng([seed, epoch]).permutation(count)
        for epoch in np.unique(epochs).tolist()
    }
    return np.asarray(
        [orders[e][p] for e, p in zip(epochs.tolist(), place % count, strict=True)]
    )
