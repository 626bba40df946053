"""GPT-2 in flax.linen: an immutable map from a param pytree and tokens to logits.

Shapes: `B` batch, `T` tokens, `D` embed_dim, `V` vocab_size, `C` classes; `N` is `T`,
or 1 where a text was pooled to `E` numbers.

Sources: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners";
openai/gpt-2 `src/model.py` (names); Raschka, "Build a Large Language Model (From
Scratch)", chapter 6 (the classifier).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key

from gpt2_jax.config import GPT2Config, PoolName
from gpt2_jax.model.attention import attention_mask
from gpt2_jax.model.blocks import Block, take_token
from gpt2_jax.model.dense import (
    draw_head,
    layer_norm,
    matmul_precision,
    uniform_init,
)
from gpt2_jax.model.pools import POOLS, Pool
from gpt2_jax.model.tree import Params

Tokens = Int[Array | np.ndarray, "B T"]
Lengths = Int[Array | np.ndarray, " B"]
Logits = Float[Array, "B T V"] | Float[Array, "B C"]  # of a language model; of classes


class GPT2(nn.Module):
    """GPT-2 with tied language logits, or with a classification head.

    `model(tokens, lengths)` is `top(trunk(tokens, lengths, depth), lengths, depth)` for
    every `depth`: the trunk holds the embeddings and the first `depth` blocks. One more
    than there are blocks puts the final norm and the pooling into the trunk too.
    """

    config: GPT2Config

    def setup(self) -> None:
        config = self.config
        embed = nn.initializers.normal(0.02)
        self.wte = nn.Embed(config.vocab_size, config.embed_dim, embedding_init=embed)
        self.wpe = nn.Embed(config.max_len, config.embed_dim, embedding_init=embed)
        self.drop = nn.Dropout(config.dropout_rate)
        self.h = [Block(config) for _ in range(config.num_layers)]
        self.ln_f = layer_norm(config)
        if config.num_classes is not None:
            init = uniform_init(head_inputs(config))
            self.out_head = nn.Dense(
                config.num_classes, kernel_init=init, bias_init=init, dtype=jnp.float32
            )
        elif not config.tied:
            self.out_head = nn.Dense(config.vocab_size, use_bias=False)

    def __call__(
        self,
        tokens: Tokens,
        lengths: Lengths | None = None,
        *,
        deterministic: bool = True,
    ) -> Logits:
        """Map `tokens` [B, T] and `lengths` [B] to float32 logits.

        Returns [B, T, V] for a language model and [B, C] for a classifier. Without
        `lengths` every token counts as text. Dropout needs the rng "dropout".

        Raises:
            ValueError: more tokens than positions.
        """
        hidden = self.trunk(tokens, lengths, 0, deterministic=deterministic)
        return self.top(hidden, lengths, 0, deterministic=deterministic)

    def trunk(
        self,
        tokens: Tokens,
        lengths: Lengths | None,
        depth: int,
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B N E"]:
        """Embed `tokens` [B, T] and run the first `depth` blocks: [B, T, D].

        With the pooling in the trunk it is [B, 1, D], or wider, as the pool is.
        """
        num_tokens = tokens.shape[1]
        if num_tokens > self.config.max_len:
            raise ValueError(
                f"{num_tokens} tokens do not fit max_len={self.config.max_len}"
            )
        x = self.embed(tokens, jnp.arange(num_tokens)[None])
        x = self.drop(x, deterministic=deterministic)
        mask = attention_mask(
            self.config, num_tokens, _lengths(x, lengths), positions=None
        )
        pooled = depth > self.config.num_layers
        last = self.config.num_layers - 1
        for block in self.h[: last if pooled else depth]:
            x = block(x, mask, deterministic=deterministic)
        if pooled:
            return self.pooled(x, lengths, last, deterministic=deterministic)
        return x

    def embed(
        self, tokens: Tokens, positions: Int[Array | np.ndarray, "#B T"]
    ) -> Float[Array, "B T D"]:
        """Return the sum of what stands for `tokens` and for `positions`."""
        return (self.wte(tokens) + self.wpe(positions)).astype(self.config.dtype)

    def top(
        self,
        hidden: Float[Array | np.ndarray, "B T E"],
        lengths: Lengths | None,
        depth: int,
        *,
        deterministic: bool = True,
    ) -> Logits:
        """Run the blocks above the trunk of `depth`, the final norm and the head."""
        config, x = self.config, jnp.asarray(hidden)
        if depth <= config.num_layers:
            x = self.pooled(x, lengths, depth, deterministic=deterministic)
        with matmul_precision(config, "float32"):
            if config.num_classes is not None:
                return self.out_head(x[:, 0])  # [B, 1, D] -> [B, C]
            x = x.astype(config.dtype)
            logits = self.wte.attend(x) if config.tied else self.out_head(x)
            return logits.astype(jnp.float32)  # [B, T, V]

    def pooled(
        self,
        hidden: Float[Array | np.ndarray, "B T D"],
        lengths: Lengths | None,
        depth: int,
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B N E"]:
        """Run the blocks above the trunk of `depth` and the final norm.

        That is what the head reads: [B, 1, D] for a classifier (twice as wide where the
        pool has two vectors), [B, T, D] for a language model.
        """
        config, x = self.config, jnp.asarray(hidden)
        lengths = _lengths(x, lengths)
        pool = None if config.num_classes is None else POOLS[config.pool]
        mask = attention_mask(config, x.shape[1], lengths, positions=None)
        blocks = self.h[depth:]
        if pool is None or pool.reads_all:
            for block in blocks:
                x = block(x, mask, deterministic=deterministic)
            x = self.ln_f(x)
            return x if pool is None else _pool_all(pool, x, lengths)
        positions = _positions(pool, x.shape[1], lengths)
        for block in blocks[:-1]:
            x = block(x, mask, deterministic=deterministic)
        if blocks:
            mask = attention_mask(config, x.shape[1], lengths, positions)
            x = blocks[-1](x, mask, positions, deterministic=deterministic)
        else:
            x = take_token(x, positions)  # [B, T, D] -> [B, 1, D]
        return self.ln_f(x)


def head_inputs(config: GPT2Config) -> int:
    """Return how many numbers of each text the classification head reads."""
    return POOLS[config.pool].width * config.embed_dim


def _positions(
    pool: Pool, num_tokens: Any, lengths: Int[Array, " B"]
) -> Int[Array, " B"]:
    """Return the position of the one token of each text that `pool` reads."""
    if pool.token == "last_real":
        return lengths - 1
    return jnp.full_like(lengths, num_tokens - 1 if pool.token == "last" else 0)


def _pool_all(
    pool: Pool, x: Float[Array, "B T D"], lengths: Int[Array, " B"]
) -> Float[Array, "B 1 E"]:
    """Put the vectors that `pool` reads side by side: `E` is its width times D."""
    parts = [_mean(x, lengths)]
    if pool.token is not None:
        parts.insert(0, take_token(x, _positions(pool, x.shape[1], lengths)))
    return jnp.concatenate(parts, axis=-1)


def _mean(x: Float[Array, "B T D"], lengths: Int[Array, " B"]) -> Float[Array, "B 1 D"]:
    """Average over each text, pads left out."""
    real = jnp.arange(x.shape[1])[None] < lengths[:, None]  # [B, T]
    total = jnp.where(real[:, :, None], x, 0.0).sum(axis=1, keepdims=True)
    return total / lengths[:, None, None]


def _lengths(x: Float[Array, "B T D"], lengths: Lengths | None) -> Int[Array, " B"]:
    if lengths is None:
        return jnp.full(x.shape[0], x.shape[1])
    return jnp.asarray(lengths)


def param_shapes(config: GPT2Config) -> Params:
    """Return the param pytree of `GPT2(config)` as `jax.ShapeDtypeStruct`s."""
    # All blocks are alike, and to trace each takes longer than to read its weights.
    one_block = dataclasses.replace(config, num_layers=1)
    tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = jax.eval_shape(GPT2(one_block).init, key, tokens)["params"]
    return {**shapes, **{f"h_{i}": shapes["h_0"] for i in range(config.num_layers)}}


def count_params(params: Params) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def to_classifier(
    config: GPT2Config,
    params: Params,
    *,
    num_classes: int,
    key: Key[Array, ""],
    pool: PoolName = GPT2Config.pool,
    **changes: Any,
) -> tuple[GPT2, Params]:
    """Replace the language head by `out_head`, one logit per class.

    Kernel [D, C] and bias [C] are drawn from U(±1/sqrt(D)), as the book's nn.Linear; a
    pool of two vectors has 2D in the place of D.
    `changes` are further fields of the config, such as `dropout_rate` or `dtype`.
    `params` itself is left as it is.

    Raises:
        ValueError: fewer than 2 classes, or an unknown pool.
        TypeError: a change that is no field of GPT2Config.
    """
    config = dataclasses.replace(
        config, num_classes=num_classes, pool=pool, tied=True, **changes
    )
    head = draw_head(key, head_inputs(config), num_classes)
    return GPT2(config), {**params, "out_head": head}
