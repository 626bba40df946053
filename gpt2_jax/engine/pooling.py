"""From the hidden states of texts to what the head reads of each.

Shapes: `B` batch, `N` texts, `E` what the head reads of a text.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

import jax
import numpy as np
from jax import Array
from jaxtyping import Float

from gpt2_jax.config import GPT2Config
from gpt2_jax.engine.forward import gather
from gpt2_jax.engine.packing import call_tokens
from gpt2_jax.engine.texts import Texts
from gpt2_jax.engine.widths import by_length, filled
from gpt2_jax.model.gpt2 import GPT2, head_inputs
from gpt2_jax.model.tree import Params, split_params


def run_pooling(
    config: GPT2Config, params: Params, texts: Texts, depth: int
) -> Float[np.ndarray, "N E"]:
    """Return what the head reads of each text, as float32.

    Args:
        texts: outputs of the `depth` blocks that run over all tokens.
    """
    pool = _pooling(config, depth)
    out = np.empty((len(texts), head_inputs(config)), np.float32)
    _, params = split_params(params, config.num_layers, depth)
    params = {name: leaf for name, leaf in params.items() if name != "out_head"}
    tokens = call_tokens(jax.default_backend())
    for rows, width, size in by_length(texts.lengths, texts.widths, tokens):
        whole = filled(rows, size)
        if isinstance(texts.values, np.ndarray):
            batch = texts.batches(whole, width)
        else:
            batch = _gathered(texts.data, whole, width)
        pooled = pool(params, batch)
        out[rows] = np.asarray(pooled)[: len(rows)]
    return out


_gathered = jax.jit(gather, static_argnums=2)


@functools.cache
def _pooling(config: GPT2Config, depth: int) -> Callable[..., Array]:
    def pool(params: Params, batch: dict[str, Array]) -> Float[Array, "B E"]:
        pooled = GPT2(config).apply(
            {"params": params},
            batch["features"],
            batch["lengths"],
            depth,
            method=GPT2.pooled,
        )
        return cast(Array, pooled)[:, 0]

    return jax.jit(pool)
