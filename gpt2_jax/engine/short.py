"""One short text: the programs of the trunk and of what is above it, in one call.

Shapes: `T` tokens, `C` classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from gpt2_jax.config import GPT2Config
from gpt2_jax.engine.forward import packed_end, predict_program
from gpt2_jax.engine.trunk import block_programs
from gpt2_jax.model.tree import Params, split_params

# Tokens and blocks at most: more take longer to compile than calls of programs take,
# which are nothing beside the arithmetic.
SHORT_TEXT, FEW_BLOCKS = 128, 12


def is_short(config: GPT2Config, num_tokens: int) -> bool:
    """Return whether a text of so many tokens is worth a program of its own."""
    return num_tokens <= SHORT_TEXT and config.num_layers <= FEW_BLOCKS


@functools.cache
def short_text_program(config: GPT2Config) -> Callable[..., Array]:
    """Return what makes logits of params, tokens [1, T] and lengths [1]."""
    embed, block = block_programs(config)
    depth = packed_end(config)
    predict = predict_program(config, depth)

    def run(
        params: Params, tokens: Int[Array, "1 T"], lengths: Int[Array, " 1"]
    ) -> Float[Array, "1 C"]:
        positions = jnp.arange(tokens.shape[1])[None]
        segments = (positions < lengths[:, None]).astype(jnp.int32)
        x = embed({name: params[name] for name in ("wte", "wpe")}, tokens, positions)
        for i in range(depth):
            x = block(params[f"h_{i}"], x, segments)
        _, top = split_params(params, config.num_layers, depth)
        return predict(top, {"features": x, "lengths": lengths})

    return jax.jit(run)
