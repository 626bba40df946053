"""A block of GPT-2: attention and MLP, each behind a layer norm.

Shapes: `B` batch, `S` tokens of a text, `T` tokens that are left (all of them or one),
`D` embed_dim, `F` mlp_dim.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from gpt2_jax.config import GPT2Config
from gpt2_jax.model.attention import CausalSelfAttention
from gpt2_jax.model.dense import (
    ScaleAndBias,
    dense,
    layer_norm,
    matmul_precision,
)

_ACTIVATIONS = {
    "gelu_new": functools.partial(nn.gelu, approximate=True),
    "gelu": functools.partial(nn.gelu, approximate=False),
    "relu": nn.relu,
}


class MLP(nn.Module):
    config: GPT2Config

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        width, hidden = self.config.embed_dim, self.config.mlp_dim
        x = dense(self.config, (width, hidden), "c_fc")(x)  # [B, T, F]
        x = _ACTIVATIONS[self.config.activation](x)
        return dense(self.config, (hidden, width), "c_proj")(x)


class Block(nn.Module):
    """Pre-norm transformer block."""

    config: GPT2Config

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B S D"],
        mask: Bool[Array, "#B 1 #T S"],
        positions: Int[Array, " B"] | None = None,
        *,
        deterministic: bool,
    ) -> Float[Array, "B T D"]:
        """Map every token, or the one of each text at `positions`.

        With `positions` given, all but the statistics of the first norm and the
        attention's two sums is computed for one token per text.
        """
        config = self.config
        dropout = nn.Dropout(config.dropout_rate, deterministic=deterministic)
        attention = CausalSelfAttention(config, name="attn")
        attend = functools.partial(attention, mask=mask, deterministic=deterministic)
        with matmul_precision(config, config.dtype):
            if positions is None:
                y = attend(layer_norm(config, "ln_1")(x).astype(config.dtype))
            else:
                norm = ScaleAndBias(config.embed_dim, name="ln_1")()
                normed = layer_norm(config, learned=False)(x).astype(config.dtype)
                x, query = take_token(x, positions), take_token(normed, positions)
                y = attend(normed, query=query, norm=norm)
            x = x + dropout(y)
            y = layer_norm(config, "ln_2")(x).astype(config.dtype)
            y = MLP(config, name="mlp")(y)
            return x + dropout(y)


def take_token(
    x: Float[Array, "B T D"], positions: Int[Array, " B"]
) -> Float[Array, "B 1 D"]:
    """Return x[b, positions[b]] for each text."""
    return jnp.take_along_axis(x, positions[:, None, None], axis=1)
