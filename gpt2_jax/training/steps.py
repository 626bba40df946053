"""One pure train step and one pure predict step, and their jit and pmap wrappers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import jax_utils
from flax.training.train_state import TrainState
from jax import Array

from gpt2_jax.data.batches import Batch
from gpt2_jax.errors import DeviceError
from gpt2_jax.model import GPT2
from gpt2_jax.training.optimizer import TRAIN, stop_frozen_gradients
from gpt2_jax.tree import Params

AXIS = "batch"
Device = Any  # jax.Device is no class to a type checker


def create_train_state(
    model: GPT2, params: Params, tx: optax.GradientTransformation
) -> TrainState:
    """Return step 0 on copies of `params`: the train step donates what it is given."""
    params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx)


def forward(
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
    rngs = None if key is None else {"dropout": key}
    apply = functools.partial(
        model.apply, {"params": params}, deterministic=key is None, rngs=rngs
    )
    if "features" in batch:
        logits = apply(batch["features"], batch["lengths"], split, method=GPT2.top)
    else:
        logits = apply(batch["tokens"], batch["lengths"])
    return cast(Array, logits)


def train_step(
    state: TrainState,
    batch: dict[str, Any],
    key: Array,
    *,
    model: GPT2,
    labels: Params,
    split: int = 0,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """Take one optimizer step on the weighted mean cross-entropy of `batch`.

    The mean is over the whole batch, on however many devices it lies: sums are added
    over `axis_name` before the one division. Returns the new state and the float32
    scalars `loss`, `correct` and `count`.
    """
    key = jax.random.fold_in(key, state.step)
    if axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
    dropout_key = key if model.config.dropout_rate else None
    add = functools.partial(_add_devices, axis_name=axis_name)
    weights = batch["weights"]  # [B]
    total = add(weights.sum())

    def loss_fn(params: Params) -> tuple[Array, Array]:
        params = stop_frozen_gradients(params, labels)
        logits = forward(model, params, batch, split=split, key=dropout_key)
        losses = optax.softmax_cross_entropy_with_integer_labels(
            logits, batch["labels"]
        )
        return (losses * weights).sum() / total, logits

    (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    loss, grads = add(loss), add(grads)
    updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
    params = jax.tree.map(  # adding a zero would turn a frozen -0.0 into 0.0
        lambda leaf, update, label: leaf + update if label == TRAIN else leaf,
        state.params,
        updates,
        labels,
    )
    state = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
    counted = weights > 0
    hits = (logits.argmax(-1) == batch["labels"]) & counted
    sums = add({"correct": hits.sum(), "count": counted.sum()})
    return state, {"loss": loss, **sums}


def predict_step(
    params: Params, batch: dict[str, Any], *, model: GPT2, split: int = 0
) -> Array:
    """Return class logits [B, C], without dropout."""
    return forward(model, params, batch, split=split)


def _add_devices(tree: Any, *, axis_name: str | None) -> Any:
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


@dataclasses.dataclass(frozen=True)
class Steps:
    """The compiled steps, and how host values reach them.

    `train(state, batch, key)` and `predict(params, batch)` take whole host batches;
    `place` puts a host state on the devices and `unplace` gives one copy back.
    """

    train: Callable[[TrainState, Batch, Array], tuple[TrainState, dict[str, Array]]]
    predict: Callable[[Params, Batch], np.ndarray]
    place: Callable[[Any], Any]
    unplace: Callable[[Any], Any]
    num_devices: int


def jit_steps(model: GPT2, labels: Params, *, split: int = 0) -> Steps:
    """Compile the steps for one device."""
    train = jax.jit(
        functools.partial(train_step, model=model, labels=labels, split=split),
        donate_argnums=0,
    )
    predict = jax.jit(functools.partial(predict_step, model=model, split=split))
    return Steps(
        train=train,
        predict=lambda params, batch: np.asarray(predict(params, batch)),
        place=lambda tree: jax.tree.map(lambda x: jnp.array(x, copy=True), tree),
        unplace=lambda tree: tree,
        num_devices=1,
    )


def pmap_steps(
    model: GPT2, labels: Params, devices: Sequence[Device], *, split: int = 0
) -> Steps:
    """Compile the same steps for replicated params and a batch over `devices`.

    pmap is in maintenance mode, but it is what many TPU scripts are written in; this
    is the only place that names it.
    """
    train = jax.pmap(
        functools.partial(
            train_step, model=model, labels=labels, split=split, axis_name=AXIS
        ),
        axis_name=AXIS,
        in_axes=(0, 0, None),
        donate_argnums=0,
        devices=devices,
    )
    predict = jax.pmap(
        functools.partial(predict_step, model=model, split=split), devices=devices
    )
    num = len(devices)

    def train_sharded(state: TrainState, batch: Batch, key: Array) -> Any:
        state, sums = train(state, shard(batch, num), key)
        return state, _first_copy(sums)

    def predict_sharded(params: Params, batch: Batch) -> np.ndarray:
        logits = np.asarray(predict(params, shard(batch, num)))  # [N, B/N, C]
        return logits.reshape(-1, logits.shape[-1])

    return Steps(
        train=train_sharded,
        predict=predict_sharded,
        place=lambda tree: jax_utils.replicate(tree, list(devices)),
        unplace=_first_copy,
        num_devices=num,
    )


def _first_copy(tree: Any) -> Any:
    # flax's unreplicate keeps the leading axis where the mesh is one of many devices.
    return jax.tree.map(
        lambda x: x.addressable_shards[0].data.reshape(x.shape[1:]), tree
    )


def shard(batch: Batch, num_devices: int) -> Batch:
    """Cut every array [B, ...] into [N, B/N, ...].

    Raises:
        ValueError: the batch is not divisible by the devices.
    """
    size = len(batch["weights"])
    if size % num_devices:
        raise ValueError(
            f"a batch of {size} is not divisible by {num_devices} devices; choose "
            f"--batch-size {size - size % num_devices or num_devices}"
        )
    return {
        name: value.reshape(num_devices, size // num_devices, *value.shape[1:])
        for name, value in batch.items()
    }


def choose_devices(parallel: str, count: int | None) -> list[Device]:
    """Return the local devices to use.

    Raises:
        DeviceError: fewer devices than asked for, or several under jit.
    """
    local = jax.local_devices()
    if parallel == "jit" and (count or 1) > 1:
        raise DeviceError(f"--devices {count} needs --parallel pmap")
    wanted = count or (1 if parallel == "jit" else len(local))
    if wanted > len(local):
        raise DeviceError(
            f"--devices {wanted}: this machine has {len(local)} "
            f"({local[0].platform}); ask for fewer"
        )
    return local[:wanted]
