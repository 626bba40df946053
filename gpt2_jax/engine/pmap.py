"""The pure steps under pmap.

pmap is in maintenance mode, but it is what many TPU scripts are written in; this is
the only module that names it.

Shapes: `S` steps, `B` batch, `C` classes, `N` local devices.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import jax_utils
from flax.training.train_state import TrainState
from jax import Array

from gpt2_jax.engine.devices import Device, local_batches, local_devices, pad_steps
from gpt2_jax.engine.forward import predict_step
from gpt2_jax.engine.jit import AXIS, Steps
from gpt2_jax.engine.steps import train_batches
from gpt2_jax.engine.texts import Data, Inputs
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params


def pmap_steps(
    model: GPT2,
    labels: Params,
    devices: Sequence[Device],
    *,
    split: int = 0,
    accumulate: int = 1,
) -> Steps:
    """Compile the steps for replicated params, and batches cut over `devices`."""
    train, predict = pmap_programs(
        devices, labels=labels, accumulate=accumulate, model=model, split=split
    )
    local = local_devices(devices)

    def train_cut(
        state: TrainState, data: Data | Inputs, rows: np.ndarray, key: Array, width: int
    ) -> tuple[TrainState, np.ndarray]:
        assert isinstance(data, Inputs)
        filled = pad_steps(rows, data.most_steps(rows.shape[1], width))
        batches = _cut(local_batches(data, filled, width, devices), len(local), axis=1)
        state, losses = train(state, batches, np.int32(len(rows)), key)
        return state, np.asarray(losses)[: len(rows)]

    def predict_cut(
        params: Params, data: Data | Inputs, rows: np.ndarray, width: int
    ) -> Array:
        assert isinstance(data, Inputs)
        batch = _cut(local_batches(data, rows, width, devices), len(local), axis=0)
        logits = predict(params, batch)  # [all devices, B/N, C]
        return logits.reshape(-1, logits.shape[-1])

    return Steps(
        train=train_cut,
        predict=predict_cut,
        # Placed as the step's results are, or the second step is compiled anew.
        place=lambda tree: jax_utils.replicate(tree, local, AXIS),
        unplace=_first_copy,
        hold=lambda inputs: inputs,
        num_devices=len(devices),
    )


def pmap_programs(
    devices: Sequence[Device], *, labels: Params, accumulate: int = 1, **step: Any
) -> tuple[Callable[..., Any], Callable[..., Array]]:
    """Return `steps.train_batches` and `predict_step`, to be compiled for `devices`.

    State and params are replicated along a leading axis [N, ...]; batches are
    [S, N, B/N, ...] and [N, B/N, ...]. Gradients are added by the step itself.
    """

    def predict(params: Params, batch: dict[str, Array]) -> Array:
        # All processes need the logits of all devices, and they are small.
        return jax.lax.all_gather(predict_step(params, batch, **step), AXIS)

    train = functools.partial(
        train_batches, labels=labels, axis_name=AXIS, accumulate=accumulate, **step
    )
    return jax.pmap(
        train,
        axis_name=AXIS,
        in_axes=(0, 1, None, None),
        out_axes=(0, None),
        donate_argnums=0,
        devices=devices,
    ), jax.pmap(predict, axis_name=AXIS, out_axes=None, devices=devices)


def _cut(batches: dict[str, np.ndarray], num: int, axis: int) -> dict[str, np.ndarray]:
    """Cut the examples along `axis` into those of `num` devices: B -> N, B/N."""
    return {
        name: x.reshape(*x.shape[:axis], num, -1, *x.shape[axis + 1 :])
        for name, x in batches.items()
    }


def _first_copy(tree: Any) -> Any:
    # flax's unreplicate keeps the leading axis where the mesh is one of many devices.
    return jax.tree.map(
        lambda x: np.array(x.addressable_data(0)).reshape(x.shape[1:]), tree
    )
