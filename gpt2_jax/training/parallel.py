"""The pure steps under jit for one device, and under pmap for several.

Shapes: `S` steps, `B` batch, `C` classes, `N` devices.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import jax_utils
from flax.training.train_state import TrainState
from jax import Array

from gpt2_jax.errors import DeviceError
from gpt2_jax.model import GPT2
from gpt2_jax.training.inputs import Data
from gpt2_jax.training.steps import MAX_STEPS, predict_rows, train_steps
from gpt2_jax.tree import Params

AXIS = "batch"
Device = Any  # jax.Device is no class to a type checker


@dataclasses.dataclass(frozen=True)
class Steps:
    """The compiled steps, and how host values reach them.

    `train(state, data, rows, key, width)` takes a step on each of `rows` [S, B] and
    returns their losses [S]; `predict(params, data, rows, width)` returns logits
    [B, C] before they are done. `place` puts a host tree, as of a state
    or of data, on the devices, and `unplace` gives one copy back.
    """

    train: Callable[
        [TrainState, Data, np.ndarray, Array, int], tuple[TrainState, np.ndarray]
    ]
    predict: Callable[[Params, Data, np.ndarray, int], Array]
    place: Callable[[Any], Any]
    unplace: Callable[[Any], Any]
    num_devices: int


def jit_steps(model: GPT2, labels: Params, *, split: int = 0) -> Steps:
    """Compile the steps for one device."""
    train = jax.jit(
        functools.partial(train_steps, model=model, labels=labels, split=split),
        static_argnums=5,
        donate_argnums=0,
    )
    predict = jax.jit(
        functools.partial(predict_rows, model=model, split=split), static_argnums=3
    )

    def train_rows(
        state: TrainState, data: Data, rows: np.ndarray, key: Array, width: int
    ) -> tuple[TrainState, np.ndarray]:
        filled, count = _fill_steps(rows)
        state, losses = train(state, data, filled, count, key, width)
        return state, np.asarray(losses)[: len(rows)]

    return Steps(
        train=train_rows,
        predict=predict,
        place=_place_on_first,
        unplace=lambda tree: tree,
        num_devices=1,
    )


def pmap_steps(
    model: GPT2, labels: Params, devices: Sequence[Device], *, split: int = 0
) -> Steps:
    """Compile the same steps for replicated params and batches over `devices`.

    pmap is in maintenance mode, but it is what many TPU scripts are written in; this
    is the only place that names it.
    """
    train = jax.pmap(
        functools.partial(
            train_steps, model=model, labels=labels, split=split, axis_name=AXIS
        ),
        axis_name=AXIS,
        in_axes=(0, 0, 0, None, None, None),
        static_broadcasted_argnums=5,
        donate_argnums=0,
        devices=devices,
    )
    predict = jax.pmap(
        functools.partial(predict_rows, model=model, split=split),
        static_broadcasted_argnums=3,
        devices=devices,
    )
    num = len(devices)

    def train_sharded(
        state: TrainState, data: Data, rows: np.ndarray, key: Array, width: int
    ) -> tuple[TrainState, np.ndarray]:
        filled, count = _fill_steps(rows)
        sharded = shard(filled, num).swapaxes(0, 1)  # [S, N, B/N] -> [N, S, B/N]
        state, losses = train(state, data, sharded, count, key, width)
        return state, np.asarray(_first_copy(losses))[: len(rows)]

    def predict_sharded(
        params: Params, data: Data, rows: np.ndarray, width: int
    ) -> Array:
        logits = predict(params, data, shard(rows, num), width)  # [N, B/N, C]
        return logits.reshape(-1, logits.shape[-1])

    return Steps(
        train=train_sharded,
        predict=predict_sharded,
        place=lambda tree: jax_utils.replicate(tree, list(devices)),
        unplace=_first_copy,
        num_devices=num,
    )


def _place_on_first(tree: Any) -> Any:
    # Committed, all of it: what comes from a checkpoint is, and were the rest not,
    # every program would be compiled twice.
    device = jax.local_devices()[0]
    return jax.device_put(jax.tree.map(lambda x: jnp.array(x, copy=True), tree), device)


def _fill_steps(rows: np.ndarray) -> tuple[np.ndarray, np.int32]:
    """Return `rows` [S, B] in an array of MAX_STEPS, and S."""
    filled = np.zeros((MAX_STEPS, rows.shape[1]), np.int32)
    filled[: len(rows)] = rows
    return filled, np.int32(len(rows))


def _first_copy(tree: Any) -> Any:
    # flax's unreplicate keeps the leading axis where the mesh is one of many devices.
    return jax.tree.map(
        lambda x: x.addressable_shards[0].data.reshape(x.shape[1:]), tree
    )


def shard(rows: np.ndarray, num_devices: int) -> np.ndarray:
    """Cut [..., B] into [..., N, B/N].

    Raises:
        ValueError: the batch is not divisible by the devices.
    """
    size = rows.shape[-1]
    if size % num_devices:
        raise ValueError(
            f"a batch of {size} is not divisible by {num_devices} devices; choose "
            f"--batch-size {size - size % num_devices or num_devices}"
        )
    return rows.reshape(*rows.shape[:-1], num_devices, size // num_devices)


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
