"""A trained model on the device: token ids to logits and embeddings.

Shapes: `N` texts, `C` classes, `E` what the head reads of a text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax import Array

from gpt2_jax.engine.forward import packed_end, predict_program
from gpt2_jax.engine.long import all_pieces, mean_of_pieces
from gpt2_jax.engine.scoring import logits_by_length
from gpt2_jax.engine.short import is_short, short_text_program
from gpt2_jax.engine.spread import (
    embeddings_program,
    logits_program,
    place_params,
    run_spread,
)
from gpt2_jax.engine.texts import Texts, lay_out
from gpt2_jax.engine.trunk import SLAB, run_trunk
from gpt2_jax.engine.widths import next_width, widths_up_to
from gpt2_jax.model.gpt2 import head_inputs
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.tree import split_params
from gpt2_jax.weights.trained import TrainedModel

# Tokens whose trunk outputs are held at once: 128 MiB with mini, 384 MiB with 124M.
SLAB_TOKENS = 2**17

_users: set[int] = set()  # processes that have a model; a fork inherits its parent's


class Scorer:
    """Runs a model over texts, a slab at a time; equal texts run once.

    Raises:
        RuntimeError: the process is the fork of one that has a model.
    """

    def __init__(self, trained: TrainedModel) -> None:
        _users.add(os.getpid())
        _refuse_forks()
        self._trained, config = trained, trained.config
        self.params = jax.device_put(trained.params)
        self.pool = POOLS[config.pool]
        self._depth = packed_end(config)
        _, self._top = split_params(self.params, config.num_layers, self._depth)
        self._placed = place_params(self.params)  # on accelerators

    def logits(self, encoded: Sequence[Sequence[int]]) -> np.ndarray:
        """Return float32 [N, C]."""
        pieces, owners = self._pieces(encoded)
        out = [np.empty((0, len(self._trained.classes)), np.float32)]
        out += map(self._slab_logits, self._slabs(pieces))
        return mean_of_pieces(np.concatenate(out), owners)

    def embeddings(self, encoded: Sequence[Sequence[int]]) -> np.ndarray:
        """Return float32 [N, E], what the head reads; of several pieces the mean."""
        config = self._trained.config
        pieces, owners = self._pieces(encoded)
        out = [np.empty((0, head_inputs(config)), np.float32)]
        for slab in self._slabs(pieces):
            if self._placed:
                out.append(self._spread(embeddings_program(config), slab))
                continue
            depth = config.num_layers + 1  # the pooling too
            found = run_trunk(config, self.params, self._lay_out(slab), depth)
            values = np.asarray(found.values)[found.starts]
            out.append(values.astype(np.float32))
        return mean_of_pieces(np.concatenate(out), owners)

    def _pieces(
        self, encoded: Sequence[Sequence[int]]
    ) -> tuple[Sequence[Sequence[int]], np.ndarray]:
        trained = self._trained
        return all_pieces(encoded, trained.max_length, trained.long)

    def _slabs(
        self, encoded: Sequence[Sequence[int]]
    ) -> Iterator[Sequence[Sequence[int]]]:
        _refuse_forks()
        limit = self._trained.max_length
        start = tokens = 0
        for end, ids in enumerate(encoded, start=1):
            tokens += limit if self.pool.reads_padding else min(len(ids), limit)
            full = end - start == SLAB or tokens >= SLAB_TOKENS
            if full or end == len(encoded):
                yield encoded[start:end]
                start, tokens = end, 0

    def _lay_out(self, slab: Sequence[Sequence[int]]) -> Texts:
        trained = self._trained
        return lay_out(
            slab,
            limit=trained.max_length,
            padded=self.pool.reads_padding,
            pad_id=trained.tokenizer.end_id,
            longest=trained.max_length,
        )

    def _slab_logits(self, slab: Sequence[Sequence[int]]) -> np.ndarray:
        config = self._trained.config
        if self._placed:
            return self._spread(logits_program(config), slab)
        texts = self._lay_out(slab)
        if len(slab) == 1 and is_short(config, int(texts.lengths[0])):
            return self._short_text_logits(texts)
        hidden = run_trunk(config, self.params, texts, self._depth)
        program = predict_program(config, self._depth)

        def predict(rows: np.ndarray, width: int) -> Array:
            batch = hidden.batches(rows, width)
            read = {name: batch[name] for name in ("features", "lengths")}
            return program(self._top, read)

        return logits_by_length(predict, hidden, np.arange(len(slab)))

    def _short_text_logits(self, texts: Texts) -> np.ndarray:
        size = int(texts.lengths[0])
        width = next_width(size, widths_up_to(texts.widths[-1]))
        tokens = np.zeros((1, width), np.int32)  # as the trunk fills its rows
        tokens[0, :size] = texts.tokens_of(0)
        program = short_text_program(self._trained.config)
        return np.asarray(program(self.params, tokens, texts.lengths))

    def _spread(
        self, program: Callable[..., Array], slab: Sequence[Sequence[int]]
    ) -> np.ndarray:
        """Run `program` over a slab, each device on its share of the texts."""
        num = min(len(self._placed), len(slab))
        shares = [self._lay_out(slab[i::num]) for i in range(num)]
        found = run_spread(program, self._placed, shares)
        out = np.empty((len(slab), found[0].shape[1]), np.float32)
        for i, values in enumerate(found):
            out[i::num] = values
        return out


def _refuse_forks() -> None:
    """Refuse to run in a fork, where the threads of jax are gone and a call hangs."""
    if _users - {os.getpid()}:
        raise RuntimeError(
            "this process is a fork of one that has a classifier, and jax does not "
            "survive a fork; start it with multiprocessing's 'spawn' or 'forkserver' "
            "(a Classifier can be pickled), or load the first classifier in the forks"
        )
