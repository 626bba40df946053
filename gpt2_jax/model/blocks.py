"""A block of GPT-2: attention and MLP, each behind a layer norm.

Shapes: `B` batch, `T` tokens, `D` embed_dim, `F` mlp_dim.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from gpt2_jax.config import GPT2Config
from gpt2_jax.model.attention import CausalSelfAttention
from gpt2_jax.model.dense import dense, layer_norm

_ACTIVATIONS = {
    "gelu_new": functools.partial(nn.gelu, approximate=True),
    "gelu": functools.partial(nn.gelu, approximate=False),
    "relu": nn.relu,
}


class MLP(nn.Module):
    config: GPT2Config

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width, hidden = self.config.embed_dim, self.config.mlp_dim
        x = dense(self.config, (width, hidden), "c_fc")(x)  # [B, T, F]
        x = _ACTIVATIONS[self.config.activation](x)
        return dense(self.config, (hidden, width), "c_proj")(x)  # [B, T, D]


class Block(nn.Module):
    """Pre-norm transformer block."""

    config: GPT2Config

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array,
        positions: Array | None = None,
        *,
        deterministic: bool,
    ) -> Array:
        """Map [B, T, D] to [B, T, D], or to [B, 1, D] at `positions` [B].

        With `positions` given, all but the first norm and the attention's two sums is
        computed for one token per text.
        """
        config = self.config
        dropout = nn.Dropout(config.dropout_rate, deterministic=deterministic)
        normed = layer_norm(config, "ln_1")(x).astype(config.dtype)
        query = None
        if positions is not None:
            x, query = take_token(x, positions), take_token(normed, positions)
        attention = CausalSelfAttention(config, name="attn")
        y = attention(normed, mask, query, deterministic=deterministic)
        x = x + dropout(y)
        y = layer_norm(config, "ln_2")(x).astype(config.dtype)
        y = MLP(config, name="mlp")(y)
        return x + dropout(y)


def take_token(x: Array, positions: Array) -> Array:
    """Return x[b, positions[b]] for each text: [B, T, D] -> [B, 1, D]."""
    return jnp.take_along_axis(x, positions[:, None, None], axis=1)
