"""Causal self-attention: from every token, or from one token of each text.

Shapes: `B` batch, `T` tokens (queries), `S` tokens (keys), `D` embed_dim, `H` heads,
`K` head_dim.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import re
from collections.abc import Generator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from gpt2_jax.config import GPT2Config
from gpt2_jax.model.dense import dense
from gpt2_jax.model.pools import POOLS

# About how many queries attend at once: keys behind the last of them are never read,
# and the scores stay in a core's cache.
QUERIES = 128


class CausalSelfAttention(nn.Module):
    """Multi-head attention with GPT-2's fused `c_attn`."""

    config: GPT2Config

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B S D"],
        mask: Bool[Array, "#B 1 #T S"],
        query: Float[Array, "B 1 D"] | None = None,
        norm: tuple[Float[Array, " D"], Float[Array, " D"]] | None = None,
        *,
        deterministic: bool,
    ) -> Float[Array, "B T D"]:
        """Attend to `x` where `mask` is true: from `query`, or from every token.

        `norm`: the scale and bias that `x` and `query` are still to be given.
        """
        config, width = self.config, self.config.embed_dim
        c_attn = dense(config, (width, 3 * width), "c_attn")
        dropout = nn.Dropout(config.dropout_rate, deterministic=deterministic)

        def heads(y: Array) -> Array:  # [..., D] -> [..., H, K]
            return y.reshape(*y.shape[:-1], config.num_heads, config.head_dim)

        if query is not None and norm is not None:
            scale, shift = (y.astype(config.dtype)[None] for y in norm)  # [1, D]
            kernel, bias = c_attn.weights()
            to_q, to_k, to_v = jnp.split(kernel, 3, axis=-1)
            bias_q, _, bias_v = jnp.split(bias[None], 3, axis=-1)
            q = (query[:, 0] * scale + shift) @ to_q + bias_q  # [B, D]
            y = _attend_once(
                heads(q),
                x,
                heads(to_k),
                heads(to_v),
                heads(bias_v),
                (scale[None], shift[None]),
                mask[:, 0],
                dropout,
            )
        else:
            q, k, v = (heads(y) for y in jnp.split(c_attn(x), 3, axis=-1))
            if fused_attention(config, cuda_capability(), q.shape[1], k.shape[1]):
                y = jax.nn.dot_product_attention(
                    q, k, v, mask=mask, implementation="cudnn"
                )
            else:
                y = _attend(q, k, v, mask, dropout, causal=config.causal)
        y = y.reshape(*y.shape[:2], width)  # [B, T, H, K] -> [B, T, D]
        return dense(config, (width, width), "c_proj")(y)


def _attend_once(
    q: Float[Array, "B H K"],
    x: Float[Array, "B S D"],
    to_k: Float[Array, "D H K"],
    to_v: Float[Array, "D H K"],
    bias_v: Float[Array, "1 H K"],
    norm: tuple[Float[Array, "1 1 D"], Float[Array, "1 1 D"]],
    mask: Bool[Array, "#B 1 S"],
    dropout: nn.Dropout,
) -> Float[Array, "B 1 H K"]:
    """Attend from one query of each text to `x * scale + shift`, `norm` being these.

    The kernels `to_k` and `to_v` change sides, q (x W_k) = (q W_k^T) x and
    w (x W_v) = (w x) W_v, and so does the scale: no token needs a key or a value of its
    own. The shift, and the bias of the keys, add the same to every score, and the
    softmax takes it away.
    """
    scale, shift = norm
    mixed = jnp.einsum("bhk,dhk->bhd", q, to_k) * scale
    scores = jnp.einsum("bhd,bsd->bhs", mixed, x, preferred_element_type=jnp.float32)
    scores = scores / math.sqrt(q.shape[-1])
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = dropout(jax.nn.softmax(scores, axis=-1).astype(x.dtype))  # [B, H, S]
    total = weights.sum(axis=-1)[:, :, None]  # 1 but for dropout
    mean = jnp.einsum("bhs,bsd->bhd", weights, x) * scale + total * shift
    y = jnp.einsum("bhd,dhk->bhk", mean, to_v) + total * bias_v
    return y[:, None]


def _attend(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S H K"],
    v: Float[Array, "B S H K"],
    mask: Bool[Array, "#B 1 #T S"],
    dropout: nn.Dropout,
    *,
    causal: bool,
) -> Float[Array, "B T H K"]:
    # Heads outermost: XLA's CPU matmuls of one contiguous head are twice as fast.
    q, k, v = (y.transpose(0, 2, 1, 3) for y in (q, k, v))  # [B, H, T or S, K]
    num: Any = q.shape[2]  # a symbol where shapes are exported
    count = round(num / QUERIES) if causal and isinstance(num, int) else 1
    if count <= 1:
        return _attend_piece(q, k, v, mask, dropout).transpose(0, 2, 1, 3)
    pieces, size = [], -(-num // count)
    for start in range(0, num, size):
        end = min(start + size, num)
        ours = (q[:, :, start:end], k[:, :, :end], v[:, :, :end])
        pieces.append(_attend_piece(*ours, mask[:, :, start:end, :end], dropout))
    return jnp.concatenate(pieces, axis=2).transpose(0, 2, 1, 3)


def _attend_piece(
    q: Float[Array, "B H T K"],
    k: Float[Array, "B H S K"],
    v: Float[Array, "B H S K"],
    mask: Bool[Array, "#B 1 #T S"],
    dropout: nn.Dropout,
) -> Float[Array, "B H T K"]:
    scores = jnp.einsum("bhtk,bhsk->bhts", q, k, preferred_element_type=jnp.float32)
    scores = scores / math.sqrt(q.shape[-1])
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)  # [B, H, T, S]
    return jnp.einsum("bhts,bhsk->bhtk", dropout(weights), v)


# What programs are compiled for, where that is not the device that is here.
_target: contextvars.ContextVar[Any] = contextvars.ContextVar("target", default=None)


@contextlib.contextmanager
def compiling_for(device: Any) -> Generator[None]:
    """Choose the kernels of `device` in what is traced inside."""
    token = _target.set(device)
    try:
        yield
    finally:
        _target.reset(token)


def cuda_capability() -> tuple[int, int] | None:
    """Return the compute capability; None on anything but CUDA: AMD is "gpu" too."""
    device = _target.get() or jax.devices()[0]
    found = re.fullmatch(r"(\d+)\.(\d+)", getattr(device, "compute_capability", ""))
    return found and (int(found[1]), int(found[2]))


def fused_attention(
    config: GPT2Config,
    capability: tuple[int, int] | None,
    num_queries: Any,
    num_keys: Any,
) -> bool:
    """Can cuDNN's fused attention stand in for `_attend`?

    It needs CUDA of compute capability 8.0; it has no float32 and no dropout like ours;
    heads go up to 128 in steps of 8, and with a mask the numbers of queries and keys
    must be even.
    """
    return (
        capability is not None
        and capability >= (8, 0)
        and config.dtype == "bfloat16"
        and config.dropout_rate == 0.0
        and config.causal
        and config.head_dim % 8 == 0
        and config.head_dim <= 128
        and num_queries % 2 == num_keys % 2 == 0
    )


def attention_mask(
    config: GPT2Config,
    num_tokens: Any,  # an int, or a symbol where shapes are exported
    lengths: Int[Array, " B"],
    positions: Int[Array, " B"] | None,
) -> Bool[Array, "#B 1 #T S"]:
    """Return whether query t may read key s.

    Pads follow the text, so the causal mask alone hides them from every real token.
    Without it they are hidden by length, but from the pool that reads a pad on purpose,
    as the book does.
    """
    keys = jnp.arange(num_tokens)
    if config.causal:
        queries = keys[None] if positions is None else positions[:, None]
        return (keys[None, None] <= queries[:, :, None])[:, None]
    if POOLS[config.pool].reads_padding:
        return jnp.ones((1, 1, 1, num_tokens), bool)
    return (keys[None] < lengths[:, None])[:, None, None]


def segment_mask(
    config: GPT2Config, segments: Int[Array, "R T"]
) -> Bool[Array, "R 1 T T"]:
    """Return whether query t may read key s of a row in which several texts lie."""
    mask = segments[:, :, None] == segments[:, None, :]
    if config.causal:
        mask = mask & jnp.tril(jnp.ones(mask.shape[1:], bool))[None]
    return mask[:, None]
