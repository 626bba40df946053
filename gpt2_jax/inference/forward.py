"""The logits of a trained model, for texts of any number and length."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpt2_jax.engine.forward import predict_program
from gpt2_jax.engine.scoring import logits_by_length
from gpt2_jax.engine.texts import lay_out
from gpt2_jax.engine.trunk import SLAB, run_trunk
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.tree import split_params
from gpt2_jax.weights.trained import TrainedModel

# Tokens whose trunk outputs are held at once: 128 MiB with mini, 384 MiB with 124M.
SLAB_TOKENS = 2**17


class Forward:
    """A trained model on the device, without what is beside it."""

    def __init__(self, trained: TrainedModel) -> None:
        self._trained = trained
        config = trained.config
        self.params = jax.tree.map(jnp.asarray, trained.params)
        self._pool = POOLS[config.pool]
        # Of the last block only one token is needed, if the pool reads one alone.
        self._depth = config.num_layers - (not self._pool.reads_all)
        _, self._top = split_params(self.params, config.num_layers, self._depth)

    def logits(self, encoded: Sequence[list[int]]) -> np.ndarray:
        """Return float32 [N, C] of the tokens of texts; longer ones are cut."""
        out = [np.empty((0, len(self._trained.classes)), np.float32)]
        limit, padded = self._trained.max_length, self._pool.reads_padding
        start = tokens = 0
        for end, ids in enumerate(encoded, start=1):
            tokens += limit if padded else min(len(ids), limit)
            full = end - start == SLAB or tokens >= SLAB_TOKENS
            if full or end == len(encoded):
                out.append(self._slab_logits(encoded[start:end]))
                start, tokens = end, 0
        return np.concatenate(out)

    def _slab_logits(self, encoded: Sequence[list[int]]) -> np.ndarray:
        config, limit = self._trained.config, self._trained.max_length
        tokens = lay_out(
            encoded,
            limit=limit,
            padded=self._pool.reads_padding,
            pad_id=self._trained.tokenizer.end_id,
            longest=limit,
        )
        hidden = run_trunk(config, self.params, tokens, self._depth)
        program = predict_program(config, self._depth)

        def predict(rows: np.ndarray, width: int) -> Array:
            batch = hidden.batches(rows, width)
            read = {name: batch[name] for name in ("features", "lengths")}
            return program(self._top, read)

        return logits_by_length(predict, hidden, np.arange(len(encoded)))
