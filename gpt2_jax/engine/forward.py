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
from gpt2_jax.engine.texts import Data
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.scan import apply_scanned, is_scanned
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
    blocks, and `lengths` [B]. A `key` turns dropout on.
    """
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


@functools.cache  # a compiled program, shared by all texts; it holds no weights
def predict_program(config: GPT2Config, depth: int) -> Callable[..., Array]:
    """Return `predict_step` of params and a batch, compiled for one device."""
    return jax.jit(functools.partial(predict_step, model=GPT2(config), depth=depth))
