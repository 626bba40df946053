"""The pure forward pass: a batch of texts, or of trunk outputs, to class logits.

Shapes: `B` batch, `T` tokens, `D` embed_dim, `C` classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key, Shaped

from gpt2_jax.config import GPT2Config
from gpt2_jax.engine.packing import Pack
from gpt2_jax.engine.texts import Data
from gpt2_jax.model.attention import segment_mask
from gpt2_jax.model.blocks import Block
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.scan import apply_scanned, is_scanned, scan_blocks
from gpt2_jax.model.tree import Params


def gather(
    data: Data, rows: Int[Array | np.ndarray, " B"], width: int
) -> dict[str, Shaped[Array, "B ..."]]:
    """Make the batch of `rows` from texts that lie end to end in `data`.

    What stands behind a text is of another one; no real token ever reads it.
    """
    index = data["starts"][rows][:, None] + jnp.arange(width)[None]  # [B, T]
    values = jnp.take(data["values"], index, axis=0, mode="clip")
    return {
        "features" if values.ndim == 3 else "tokens": values,
        **{
            name: data[name][rows]
            for name in ("lengths", "labels", "loss_weights")
            if name in data  # a prediction has no labels
        },
    }


def gather_packed(
    data: Data, rows: Int[Array, " B"], begins: Int[Array, " B"], pack: Pack
) -> dict[str, Array]:
    """Make the batch of `rows` as `gather`, its texts packed in rows [R, T].

    Beside the values come `segments` [R, T], 0 where no text lies, `positions` [R, T]
    of each token in its text, and `places` [B, T] of each text's tokens in the rows.
    """
    starts, begin = data["starts"][rows], begins[None]
    cells = jnp.arange(pack.num * pack.width)[:, None]
    inside = (begin <= cells) & (cells < begin + data["lengths"][rows][None])
    text, filled = inside.argmax(axis=1), inside.any(axis=1)  # [R * T, B] -> [R * T]
    positions = jnp.where(filled, cells[:, 0] - begins[text], 0)
    values = data["values"][jnp.where(filled, starts[text] + positions, 0)]
    packed = {
        "features" if values.ndim == 2 else "tokens": values,
        "segments": jnp.where(filled, text + 1, 0),
        "positions": positions,
    }
    return {
        **{name: x.reshape(*pack, *x.shape[1:]) for name, x in packed.items()},
        "places": begins[:, None] + jnp.arange(pack.width)[None],
        **{name: data[name][rows] for name in ("lengths", "labels", "loss_weights")},
    }


def apply_model(
    model: GPT2,
    params: Params,
    batch: dict[str, Any],
    *,
    depth: int = 0,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "B C"]:
    """Return class logits of a batch of tokens, or of ready trunk outputs.

    `batch` holds `tokens` [B, T], or `features` [B, T, D] from the trunk of `depth`
    blocks, and `lengths` [B]. A `key` turns dropout on. With `places` the texts lie
    packed; see `gather_packed`.
    """
    if "places" in batch:
        batch, depth = _run_packed(model, params, batch, depth)
    if is_scanned(model.config.num_layers, depth):
        return apply_scanned(model, params, batch, depth=depth, key=key)
    rngs = None if key is None else {"dropout": key}
    apply = functools.partial(
        model.apply, {"params": params}, deterministic=key is None, rngs=rngs
    )
    if "features" in batch:
        logits = apply(batch["features"], batch["lengths"], depth, method=GPT2.top)
    else:
        logits = apply(batch["tokens"], batch["lengths"])
    return cast(Array, logits)


def packed_end(config: GPT2Config) -> int:
    """Return how many of the blocks need every token of a text."""
    return config.num_layers - (not POOLS[config.pool].reads_all)


def _run_packed(
    model: GPT2, params: Params, batch: dict[str, Any], depth: int
) -> tuple[dict[str, Any], int]:
    """Run the blocks that need every token, from `depth` on, over packed texts.

    Returns the batch [B, T, D] for the blocks that are left, and the depth of those.
    """
    config, end = model.config, packed_end(model.config)
    if "features" in batch:
        x = batch["features"]
    else:
        given, tokens = {"params": params}, batch["tokens"]
        x = model.apply(given, tokens, batch["positions"], method=GPT2.embed)
    mask = segment_mask(config, batch["segments"])
    blocks = [params[f"h_{i}"] for i in range(depth, end)]
    if is_scanned(config.num_layers, depth):
        x = scan_blocks(config, blocks, cast(Array, x), mask)
    else:
        for block in blocks:
            y = Block(config).apply({"params": block}, x, mask, deterministic=True)
            x = cast(Array, y)
    x = cast(Array, x).reshape(-1, config.embed_dim)  # [R, T, D] -> [R * T, D]
    x = jnp.take(x, batch["places"], axis=0, mode="clip")  # [B, T, D]
    return {"features": x, "lengths": batch["lengths"]}, end


def forward(
    model: GPT2,
    params: Params,
    batch: dict[str, Any],
    *,
    depth: int = 0,
    keys: Key[Array, " B"] | None = None,
    apply: Callable[..., Array] = apply_model,
) -> Float[Array, "B C"]:
    """Return class logits; with `keys` each example has its own dropout.

    What one example drops depends on its own key alone, and so not on the devices
    that share the batch.
    """
    apply = functools.partial(apply, model, params, depth=depth)
    if keys is None:
        return apply(batch)

    def apply_to_one(
        example: dict[str, Any], key: Key[Array, ""]
    ) -> Float[Array, " C"]:
        return apply({name: x[None] for name, x in example.items()}, key=key)[0]

    return jax.vmap(apply_to_one)(batch, keys)


def predict_step(
    params: Params, batch: dict[str, Any], *, model: GPT2, **keywords: Any
) -> Float[Array, "B C"]:
    """Return class logits, without dropout; `keywords` go to `forward`."""
    return forward(model, params, batch, **keywords)


def predict_rows(
    params: Params,
    data: Data,
    rows: Int[Array | np.ndarray, " B"],
    width: int,
    **step: Any,
) -> Float[Array, "B C"]:
    """Return class logits of `rows` of `data`."""
    return predict_step(params, gather(data, rows, width), **step)


def predict_packed(
    params: Params,
    data: Data,
    rows: Int[Array, " B"],
    begins: Int[Array, " B"],
    pack: Pack,
    **step: Any,
) -> Float[Array, "B C"]:
    """Return class logits, as `predict_rows`, of texts that lie packed."""
    return predict_step(params, gather_packed(data, rows, begins, pack), **step)


@functools.cache  # a compiled program, shared by all texts; it holds no weights
def predict_program(config: GPT2Config, depth: int) -> Callable[..., Array]:
    """Return `predict_step` of params and a batch, compiled for one device."""
    return jax.jit(functools.partial(predict_step, model=GPT2(config), depth=depth))
