"""The parts of GPT-2: dense layers with adapters, attention, MLP, block.

Shapes: `B` batch, `T` tokens (queries), `S` tokens (keys), `D` embed_dim, `H` heads,
`K` head_dim, `F` mlp_dim, `R` rank of an adapter.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from gpt2_jax.config import GPT2Config

LAYER_NORM_EPSILON = 1e-5  # flax's own default is 1e-6


def uniform_init(fan_in: int) -> nn.initializers.Initializer:
    """Return U(-1/sqrt(fan_in), 1/sqrt(fan_in)), torch.nn.Linear's default."""

    def init(key: Array, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -1, 1) / math.sqrt(fan_in)

    return init


class LoRADense(nn.Module):
    """Dense with an optional low-rank adapter: `x W + b + (alpha / r) x A B`.

    Source: Hu et al. 2021, arXiv:2106.09685, equation 3. `columns` selects output
    features, so that one fused kernel can be applied to different inputs.
    """

    in_features: int
    features: int
    dtype: str
    lora_rank: int
    lora_alpha: float

    def setup(self) -> None:
        init = nn.initializers.normal(0.02)
        self.kernel = self.param("kernel", init, (self.in_features, self.features))
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.lora_rank:
            # A as LLMs-from-scratch appendix E: kaiming_uniform_(a=sqrt(5)); B zero.
            a, b = uniform_init(self.in_features), nn.initializers.zeros
            self.lora_a = self.param("lora_a", a, (self.in_features, self.lora_rank))
            self.lora_b = self.param("lora_b", b, (self.lora_rank, self.features))

    def __call__(self, x: Array, columns: slice = slice(None)) -> Array:
        x = x.astype(self.dtype)
        y = x @ self.kernel[:, columns].astype(self.dtype)
        y = y + self.bias[None, None, columns].astype(self.dtype)
        if self.lora_rank:
            low = x @ self.lora_a.astype(self.dtype)  # [B, T, R]
            b = self.lora_b[:, columns].astype(self.dtype)
            y = y + self.lora_alpha / self.lora_rank * (low @ b)
        return y

    def weights(self) -> tuple[Array, Array]:
        """Return kernel and bias, the adapter added to the kernel."""
        kernel = self.kernel
        if self.lora_rank:
            scale = self.lora_alpha / self.lora_rank
            kernel = kernel + scale * (self.lora_a @ self.lora_b)
        return kernel.astype(self.dtype), self.bias.astype(self.dtype)


def _dense(config: GPT2Config, sizes: tuple[int, int], name: str) -> LoRADense:
    return LoRADense(
        *sizes, config.dtype, config.lora_rank, config.lora_alpha, name=name
    )


def layer_norm(name: str | None = None) -> nn.LayerNorm:
    # Two passes: E[x^2] - E[x]^2 cancels on the outlier features of large GPT-2s.
    return nn.LayerNorm(
        epsilon=LAYER_NORM_EPSILON,
        dtype=jnp.float32,
        use_fast_variance=False,
        name=name,
    )


class CausalSelfAttention(nn.Module):
    """Multi-head attention with GPT-2's fused `c_attn`."""

    config: GPT2Config

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array,
        query: Array | None = None,
        *,
        deterministic: bool,
    ) -> Array:
        """Attend to `x` [B, S, D] where `mask` is true: from `query` [B, 1, D], or
        from every token of `x`.
        """
        config, width = self.config, self.config.embed_dim
        c_attn = _dense(config, (width, 3 * width), "c_attn")
        dropout = nn.Dropout(config.dropout_rate, deterministic=deterministic)

        def heads(y: Array) -> Array:  # [..., D] -> [..., H, K]
            return y.reshape(*y.shape[:-1], config.num_heads, config.head_dim)

        if query is not None:
            q = heads(c_attn(query, slice(None, width)))[:, 0]
            kernel, bias = (y[..., width:] for y in c_attn.weights())
            to_k, to_v = (heads(y) for y in jnp.split(kernel, 2, axis=-1))
            y = _attend_once(q, x, to_k, to_v, heads(bias[width:]), mask[:, 0], dropout)
        else:
            q, k, v = (heads(y) for y in jnp.split(c_attn(x), 3, axis=-1))
            if fused_attention(config, jax.default_backend(), q.shape[1], k.shape[1]):
                y = jax.nn.dot_product_attention(
                    q, k, v, mask=mask, implementation="cudnn"
                )
            else:
                y = _attend(q, k, v, mask, dropout)
        y = y.reshape(*y.shape[:2], width)  # [B, T, H, K] -> [B, T, D]
        return _dense(config, (width, width), "c_proj")(y)


def _attend_once(
    q: Array,
    x: Array,
    to_k: Array,
    to_v: Array,
    bias_v: Array,
    mask: Array,
    dropout: nn.Dropout,
) -> Array:
    """Attend from one query `q` [B, H, K] to `x` [B, S, D]: [B, 1, H, K].

    The kernels `to_k` and `to_v` [D, H, K] change sides, q (x W_k) = (q W_k^T) x and
    w (x W_v) = (w x) W_v: no token needs a key or a value of its own. The bias of the
    keys adds the same to every score, and the softmax takes it away.
    """
    mixed = jnp.einsum("bhk,dhk->bhd", q, to_k)
    scores = jnp.einsum("bhd,bsd->bhs", mixed, x, preferred_element_type=jnp.float32)
    scores = scores / math.sqrt(q.shape[-1])
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = dropout(jax.nn.softmax(scores, axis=-1).astype(x.dtype))  # [B, H, S]
    mean = jnp.einsum("bhs,bsd->bhd", weights, x)
    y = jnp.einsum("bhd,dhk->bhk", mean, to_v)
    y = y + jnp.einsum("bh,hk->bhk", weights.sum(axis=-1), bias_v)
    return y[:, None]


def _attend(q: Array, k: Array, v: Array, mask: Array, dropout: nn.Dropout) -> Array:
    """Attend from `q` [B, T, H, K] to `k` and `v` [B, S, H, K]: [B, T, H, K]."""
    # Heads outermost: XLA's CPU matmuls of one contiguous head are twice as fast.
    q, k, v = (y.transpose(0, 2, 1, 3) for y in (q, k, v))  # [B, H, T or S, K]
    scores = jnp.einsum("bhtk,bhsk->bhts", q, k, preferred_element_type=jnp.float32)
    scores = scores / math.sqrt(q.shape[-1])
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)  # [B, H, T, S]
    y = jnp.einsum("bhts,bhsk->bhtk", dropout(weights), v)
    return y.transpose(0, 2, 1, 3)


def fused_attention(
    config: GPT2Config, platform: str, num_queries: int, num_keys: int
) -> bool:
    """Can cuDNN's fused attention stand in for `_attend`?

    It has no float32 and no dropout like ours; heads go up to 128 in steps of 8, and
    with a mask the numbers of queries and keys must be even.
    """
    return (
        platform == "gpu"
        and config.dtype == "bfloat16"
        and config.dropout_rate == 0.0
        and config.causal
        and config.head_dim % 8 == 0
        and config.head_dim <= 128
        and num_queries % 2 == num_keys % 2 == 0
    )


class MLP(nn.Module):
    config: GPT2Config

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width, hidden = self.config.embed_dim, self.config.mlp_dim
        x = _dense(self.config, (width, hidden), "c_fc")(x)  # [B, T, F]
        x = nn.gelu(x, approximate=True)
        return _dense(self.config, (hidden, width), "c_proj")(x)  # [B, T, D]


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
        normed = layer_norm("ln_1")(x).astype(config.dtype)
        query = None
        if positions is not None:
            x, query = take_token(x, positions), take_token(normed, positions)
        attention = CausalSelfAttention(config, name="attn")
        y = attention(normed, mask, query, deterministic=deterministic)
        x = x + dropout(y)
        y = MLP(config, name="mlp")(layer_norm("ln_2")(x).astype(config.dtype))
        return x + dropout(y)


def take_token(x: Array, positions: Array) -> Array:
    """Return x[b, positions[b]] for each text: [B, T, D] -> [B, 1, D]."""
    return jnp.take_along_axis(x, positions[:, None, None], axis=1)


def attention_mask(
    config: GPT2Config, num_tokens: int, lengths: Array, positions: Array | None
) -> Array:
    """Return bool [B or 1, 1, T, S]: may query t read key s?

    Pads follow the text, so the causal mask alone hides them from every real token.
    Without it they are hidden by length; the pool `last` reads a pad on purpose (the
    book does), so there they stay visible.
    """
    keys = jnp.arange(num_tokens)
    if config.causal:
        queries = keys[None] if positions is None else positions[:, None]
        return (keys[None, None] <= queries[:, :, None])[:, None]
    if config.pool == "last":
        return jnp.ones((1, 1, 1, num_tokens), bool)
    return (keys[None] < lengths[:, None])[:, None, None]
