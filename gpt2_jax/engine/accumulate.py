"""The gradient of a batch, a piece at a time, for less memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from gpt2_jax.engine.param_labels import TRAIN
from gpt2_jax.model.tree import Params


def add_pieces(
    gradients: Callable[..., tuple[Array, Params]],
    batch: dict[str, Any],
    keys: Key[Array, " B"] | None,
    param_labels: Params,
    count: int,
) -> tuple[Float[Array, ""], Params]:
    """Return loss and gradients of `batch` from `count` pieces of it, one by one.

    Each takes every `count`-th example, so that all devices share each piece. What
    fills up the last ones has no weight.
    """
    num = len(batch["loss_weights"])
    if num % count:
        places = jnp.arange(count * -(-num // count))
        batch, keys = jax.tree.map(
            lambda x: x[jnp.minimum(places, num - 1)], (batch, keys)
        )
        batch["loss_weights"] = jnp.where(places < num, batch["loss_weights"], 0.0)
    pieces = jax.tree.map(
        lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), (batch, keys)
    )

    def of_piece(piece: tuple[dict[str, Any], Array | None]) -> tuple[Array, Params]:
        loss, grads = gradients(*piece)
        trained = jax.tree.map(
            lambda grad, label: grad if label == TRAIN else None, grads, param_labels
        )
        return loss, trained

    def add(total: Any, piece: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, of_piece(piece)), None

    shapes = jax.eval_shape(of_piece, jax.tree.map(lambda x: x[0], pieces))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (loss, trained), _ = jax.lax.scan(add, zeros, pieces)
    grads = jax.tree.map(
        lambda label, grad, whole: (
            jnp.zeros(whole.shape, whole.dtype) if grad is None else grad
        ),
        param_labels,
        trained,
        jax.eval_shape(gradients, batch, keys)[1],
    )
    return loss, grads
