"""One pure train step and one pure predict step; `parallel` compiles them.

Shapes: `S` steps, `B` batch, `T` tokens, `D` embed_dim, `C` classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState
from jax import Array

from gpt2_jax.model import GPT2
from gpt2_jax.training.accumulate import add_pieces
from gpt2_jax.training.inputs import Data
from gpt2_jax.training.optimizer import TRAIN, stop_frozen_gradients
from gpt2_jax.training.scan import apply_scanned, is_scanned
from gpt2_jax.tree import Params


def create_train_state(
    model: GPT2, params: Params, tx: optax.GradientTransformation
) -> TrainState:
    """Return step 0 on copies of `params`: the train step donates what it is given."""
    params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx)


def gather(data: Data, rows: Array, width: int) -> dict[str, Array]:
    """Make the batch of `rows` [B] from texts that lie end to end in `data`.

    What stands behind a text is of another one; no real token ever reads it.
    """
    index = data["starts"][rows][:, None] + jnp.arange(width)[None]  # [B, T]
    values = jnp.take(data["values"], index, axis=0, mode="clip")
    return {
        "features" if values.ndim == 3 else "tokens": values,
        **{name: data[name][rows] for name in ("lengths", "labels", "weights")},
    }


def apply_model(
    model: GPT2,
    params: Params,
    batch: dict[str, Any],
    *,
    split: int = 0,
    key: Array | None = None,
) -> Array:
    """Return class logits [B, C] of a batch of tokens, or of ready trunk outputs.

    `batch` holds `tokens` [B, T], or `features` [B, T, D] from the trunk of `split`
    blocks, and `lengths` [B]. A `key` turns dropout on.
    """
    if is_scanned(model.config.num_layers, split):
        return apply_scanned(model, params, batch, split=split, key=key)
    rngs = None if key is None else {"dropout": key}
    apply = functools.partial(
        model.apply, {"params": params}, deterministic=key is None, rngs=rngs
    )
    if "features" in batch:
        logits = apply(batch["features"], batch["lengths"], split, method=GPT2.top)
    else:
        logits = apply(batch["tokens"], batch["lengths"])
    return cast(Array, logits)


def forward(
    model: GPT2,
    params: Params,
    batch: dict[str, Any],
    *,
    split: int = 0,
    keys: Array | None = None,
    apply: Callable[..., Array] = apply_model,
) -> Array:
    """Return class logits [B, C]; with `keys` [B] each example has its own dropout.

    What one example drops depends on its own key alone, and so not on the devices
    that share the batch.
    """
    apply = functools.partial(apply, model, params, split=split)
    if keys is None:
        return apply(batch)

    def apply_to_one(example: dict[str, Any], key: Array) -> Array:
        return apply({name: x[None] for name, x in example.items()}, key=key)[0]

    return jax.vmap(apply_to_one)(batch, keys)


def train_step(
    state: TrainState,
    batch: dict[str, Any],
    key: Array,
    *,
    model: GPT2,
    labels: Params,
    split: int = 0,
    axis_name: str | None = None,
    accumulate: int = 1,
    apply: Callable[..., Array] = apply_model,
) -> tuple[TrainState, Array]:
    """Take one optimizer step on the weighted mean cross-entropy of `batch`.

    The mean is over the whole batch, on however many devices it lies: sums are added
    over `axis_name` before the one division. With `accumulate` it is worked on in so
    many pieces, one after the other. Returns the new state and the loss.
    """
    add = functools.partial(_add_devices, axis_name=axis_name)
    weights = batch["weights"]  # [B]
    total = add(weights.sum())
    keys = None
    if model.config.dropout_rate:
        places = _places(len(weights), axis_name)
        key = jax.random.fold_in(key, state.step)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)

    def loss_fn(params: Params, piece: dict[str, Any], keys: Array | None) -> Array:
        params = stop_frozen_gradients(params, labels)
        logits = forward(model, params, piece, split=split, keys=keys, apply=apply)
        losses = optax.softmax_cross_entropy_with_integer_labels(
            logits, piece["labels"]
        )
        return (losses * piece["weights"]).sum() / total

    gradients = functools.partial(jax.value_and_grad(loss_fn), state.params)
    if accumulate == 1:
        loss, grads = gradients(batch, keys)
    else:
        loss, grads = add_pieces(gradients, batch, keys, labels, accumulate)
    loss, grads = add(loss), add(grads)
    updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
    params = jax.tree.map(  # adding a zero would turn a frozen -0.0 into 0.0
        lambda leaf, update, label: leaf + update if label == TRAIN else leaf,
        state.params,
        updates,
        labels,
    )
    state = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
    return state, loss


def train_steps(
    state: TrainState,
    data: Data,
    rows: Array,
    count: Array,
    key: Array,
    width: int,
    **step: Any,
) -> tuple[TrainState, Array]:
    """Take `count` steps, one on each row of `rows` [S, B] of `data`.

    Returns the new state and the losses [S]. `step` goes to `train_step`.
    """

    def batch(index: Array) -> dict[str, Array]:
        return gather(data, rows[index], width)

    return _take_steps(state, batch, len(rows), count, key, **step)


def train_batches(
    state: TrainState, batches: dict[str, Array], count: Array, key: Array, **step: Any
) -> tuple[TrainState, Array]:
    """Take `count` steps, as `train_steps`, on ready batches [S, B, ...]."""

    def batch(index: Array) -> dict[str, Array]:
        return {name: values[index] for name, values in batches.items()}

    return _take_steps(state, batch, len(batches["weights"]), count, key, **step)


def _take_steps(
    state: TrainState,
    batch: Callable[[Array], dict[str, Array]],
    most: int,
    count: Array,
    key: Array,
    **step: Any,
) -> tuple[TrainState, Array]:
    def take(index: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
        state, losses = carry
        state, loss = train_step(state, batch(index), key, **step)
        return state, losses.at[index].set(loss)

    losses = jnp.zeros(most, jnp.float32)
    return jax.lax.fori_loop(0, count, take, (state, losses))


def predict_step(
    params: Params, batch: dict[str, Any], *, model: GPT2, **keywords: Any
) -> Array:
    """Return class logits [B, C], without dropout; `keywords` go to `forward`."""
    return forward(model, params, batch, **keywords)


def predict_rows(
    params: Params, data: Data, rows: Array, width: int, **step: Any
) -> Array:
    """Return class logits [B, C] of `rows` of `data`."""
    return predict_step(params, gather(data, rows, width), **step)


def _add_devices(tree: Any, *, axis_name: str | None) -> Any:
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def _places(size: int, axis_name: str | None) -> Array:
    """Return the place of each of `size` examples in the batch of all devices."""
    places = jnp.arange(size)
    if axis_name is None:
        return places
    return places + size * jax.lax.axis_index(axis_name)
