"""One pure train step and one pure predict step; `parallel` compiles them.

Shapes: `S` steps, `B` batch, `T` tokens, `D` embed_dim, `C` classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState
from jax import Array
from jaxtyping import Float, Int, Key

from gpt2_jax.engine.accumulate import add_pieces
from gpt2_jax.engine.forward import apply_model, forward, gather, gather_packed
from gpt2_jax.engine.loss import Loss, cross_entropy
from gpt2_jax.engine.packing import Pack
from gpt2_jax.engine.param_labels import TRAIN, stop_frozen_gradients
from gpt2_jax.engine.texts import Data
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params


class RatedState(TrainState):
    """A state whose `tx` gives updates for a learning rate of 1.

    The rate is an input of a program, so that one is compiled for all rates.
    """

    # Arrays; shapes and shardings stand in their places too.
    step: Any
    params: Any
    rate: Any


def create_train_state(
    model: GPT2,
    params: Params,
    tx: optax.GradientTransformation,
    rate: float | None = None,
) -> TrainState:
    """Return step 0 on copies of `params`: the train step donates what it is given.

    `rate`: what the updates of `tx` are multiplied by, as an input of the step.
    """
    made: dict[str, Any] = {"apply_fn": model.apply, "tx": tx}
    if rate is None:  # of any optimizer, whose `init` need not be one that jax traces
        params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
        return TrainState.create(**made, params=params)
    params, opt_state = _begin(params, tx)
    made |= {"step": 0, "params": params, "opt_state": opt_state}
    return RatedState(**made, rate=np.float32(rate))


@functools.partial(jax.jit, static_argnums=1)  # one program, not one for each shape
def _begin(
    params: Params, tx: optax.GradientTransformation
) -> tuple[Params, optax.OptState]:
    copies = jax.tree.map(jnp.copy, params)
    return copies, tx.init(copies)


def train_step(
    state: TrainState,
    batch: dict[str, Any],
    key: Key[Array, ""],
    *,
    model: GPT2,
    param_labels: Params,
    depth: int = 0,
    axis_name: str | None = None,
    accumulate: int = 1,
    apply: Callable[..., Array] = apply_model,
    loss: Loss = cross_entropy,
) -> tuple[TrainState, Float[Array, ""]]:
    """Take one optimizer step on the weighted mean of `loss` over `batch`.

    The mean is over the whole batch, on however many devices it lies: sums are added
    over `axis_name` before the one division. With `accumulate` it is worked on in so
    many pieces, one after the other. Returns the new state and the loss.
    """
    add = functools.partial(_add_devices, axis_name=axis_name)
    weights = batch["loss_weights"]  # [B]
    total = add(weights.sum())
    keys = None
    if model.config.dropout_rate:
        places = _places(len(weights), axis_name)
        key = jax.random.fold_in(key, state.step)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)

    def loss_fn(params: Params, piece: dict[str, Any], keys: Array | None) -> Array:
        params = stop_frozen_gradients(params, param_labels)
        logits = forward(model, params, piece, depth=depth, keys=keys, apply=apply)
        losses = loss(logits, piece["labels"])
        return (losses * piece["loss_weights"]).sum() / total

    gradients = functools.partial(jax.value_and_grad(loss_fn), state.params)
    if accumulate == 1:
        value, grads = gradients(batch, keys)
    else:
        value, grads = add_pieces(gradients, batch, keys, param_labels, accumulate)
    value, grads = add(value), add(grads)
    updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
    rate = state.rate if isinstance(state, RatedState) else 1.0
    params = jax.tree.map(  # adding a zero would turn a frozen -0.0 into 0.0
        lambda leaf, update, label: leaf + rate * update if label == TRAIN else leaf,
        state.params,
        updates,
        param_labels,
    )
    state = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
    return state, value


def train_steps(
    state: TrainState,
    data: Data,
    rows: Int[Array, "S B"],
    count: Int[Array, ""],
    key: Key[Array, ""],
    width: int,
    **step: Any,
) -> tuple[TrainState, Float[Array, " S"]]:
    """Take `count` steps, one on each row of `rows` of `data`.

    Returns the new state and the losses. `step` goes to `train_step`.
    """

    def batch(index: Array) -> dict[str, Array]:
        return gather(data, rows[index], width)

    return _take_steps(state, batch, len(rows), count, key, **step)


def train_packed(
    state: TrainState,
    data: Data,
    rows: Int[Array, "S B"],
    begins: Int[Array, "S B"],
    count: Int[Array, ""],
    key: Key[Array, ""],
    pack: Pack,
    **step: Any,
) -> tuple[TrainState, Float[Array, " S"]]:
    """Take `count` steps, as `train_steps`, on texts that lie packed.

    `begins` tells where in the rows each text does; see `packing.place_texts`.
    """

    def batch(index: Array) -> dict[str, Array]:
        return gather_packed(data, rows[index], begins[index], pack)

    return _take_steps(state, batch, len(rows), count, key, **step)


def train_batches(
    state: TrainState,
    batches: dict[str, Array],
    count: Int[Array, ""],
    key: Key[Array, ""],
    **step: Any,
) -> tuple[TrainState, Float[Array, " S"]]:
    """Take `count` steps, as `train_steps`, on ready batches [S, B, ...]."""

    def batch(index: Array) -> dict[str, Array]:
        return {name: values[index] for name, values in batches.items()}

    return _take_steps(state, batch, len(batches["loss_weights"]), count, key, **step)


def _take_steps(
    state: TrainState,
    batch: Callable[[Array], dict[str, Array]],
    most: int,
    count: Int[Array, ""],
    key: Key[Array, ""],
    **step: Any,
) -> tuple[TrainState, Float[Array, " S"]]:
    def take(index: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
        state, losses = carry
        state, loss = train_step(state, batch(index), key, **step)
        return state, losses.at[index].set(loss)

    losses = jnp.zeros(most, jnp.float32)
    return jax.lax.fori_loop(0, count, take, (state, losses))


def _add_devices(tree: Any, *, axis_name: str | None) -> Any:
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def _places(size: int, axis_name: str | None) -> Array:
    """Return the place of each of `size` examples in the batch of all devices."""
    places = jnp.arange(size)
    if axis_name is None:
        return places
    return places + size * jax.lax.axis_index(axis_name)
