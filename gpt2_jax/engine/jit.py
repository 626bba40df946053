"""The pure steps under jit, for any number of devices; `pmap` is the other wrapper.

Shapes: `S` steps, `B` batch, `C` classes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax.training.train_state import TrainState
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gpt2_jax.engine.devices import Device, local_batches, pad_steps
from gpt2_jax.engine.forward import predict_rows, predict_step
from gpt2_jax.engine.fsdp import fsdp_programs, leaf_sharding
from gpt2_jax.engine.steps import train_batches, train_steps
from gpt2_jax.engine.texts import MAX_STEPS, Data, Inputs
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params

AXIS = "data"


@dataclasses.dataclass(frozen=True)
class Steps:
    """The compiled steps, and how host values reach them.

    `train(state, data, rows, key, width)` takes a step on each of `rows` [S, B] and
    returns their losses [S]; `predict(params, data, rows, width)` returns logits of
    `rows` [B] and of what they were padded with, before they are done. `place` puts
    a host tree, as of a state, on the devices, and `unplace` gives it back.

    `data` are the inputs, of which each call sends each device the examples that it
    works on; or what `hold` made of them: on one device all of them stay there.
    """

    train: Callable[
        [TrainState, Data | Inputs, np.ndarray, Array, int],
        tuple[TrainState, np.ndarray],
    ]
    predict: Callable[[Params, Data | Inputs, np.ndarray, int], Array]
    place: Callable[[Any], Any]
    unplace: Callable[[Any], Any]
    hold: Callable[[Inputs], Data | Inputs]
    num_devices: int


def jit_steps(
    model: GPT2,
    labels: Params,
    devices: Sequence[Device] = (),
    *,
    split: int = 0,
    shard: str = "none",
    accumulate: int = 1,
) -> Steps:
    """Compile the steps for a mesh of `devices`, or for the first local one.

    `shard` is "none" or "fsdp".
    """
    devices = devices or jax.local_devices()[:1]
    mesh, fsdp = make_mesh(devices), shard == "fsdp"
    step: dict[str, Any] = {"model": model, "split": split}
    programs = fsdp_programs if fsdp else jit_programs
    train_on_mesh, predict_on_mesh = programs(
        mesh, labels=labels, accumulate=accumulate, **step
    )
    train_resident = jax.jit(
        functools.partial(train_steps, labels=labels, accumulate=accumulate, **step),
        static_argnums=5,
        donate_argnums=0,
    )
    predict_resident = jax.jit(
        functools.partial(predict_rows, **step), static_argnums=3
    )

    def train(
        state: TrainState, data: Data | Inputs, rows: np.ndarray, key: Array, width: int
    ) -> tuple[TrainState, np.ndarray]:
        count = np.int32(len(rows))
        if isinstance(data, Inputs):
            steps = data.most_steps(rows.shape[1], width)
            batches = local_batches(data, pad_steps(rows, steps), width, devices)
            placed = _by_example(mesh, batches, axis=1)
            state, losses = train_on_mesh(state, placed, count, key)
        else:
            filled = pad_steps(rows, MAX_STEPS)
            state, losses = train_resident(state, data, filled, count, key, width)
        return state, np.asarray(losses)[: len(rows)]

    def predict(
        params: Params, data: Data | Inputs, rows: np.ndarray, width: int
    ) -> Array:
        if isinstance(data, Inputs):
            batch = local_batches(data, rows, width, devices)
            return predict_on_mesh(params, _by_example(mesh, batch, axis=0))
        return predict_resident(params, data, rows, width)

    sharding = functools.partial(leaf_sharding if fsdp else _replicated, mesh)
    place, one = functools.partial(_place, sharding), len(devices) == 1 and not fsdp
    return Steps(
        train=train,
        predict=predict,
        place=place,
        unplace=(lambda tree: tree) if one else functools.partial(_unplace, mesh),
        # Nothing donates them, so a CPU reads what lies at an address that suits it.
        hold=(lambda inputs: jax.device_put(inputs.data, replicated(mesh)))
        if one
        else lambda inputs: inputs,
        num_devices=len(devices),
    )


def jit_programs(
    mesh: Mesh, *, labels: Params, accumulate: int = 1, **step: Any
) -> tuple[Callable[..., Any], Callable[..., Array]]:
    """Return `steps.train_batches` and `predict_step`, to be compiled for `mesh`.

    The arguments bring their shardings: `replicated`, and batches `by_example`. Each
    device takes the step on its examples, which adds up the gradients itself: left to
    XLA, some would be added in parts, and cross the wire more than once.
    """
    train = functools.partial(
        train_batches, labels=labels, accumulate=accumulate, **step
    )
    predict = functools.partial(predict_step, **step)
    whole = replicated(mesh)
    if mesh.size > 1:
        none, batches, batch = (
            sharding.spec
            for sharding in (whole, by_example(mesh, 1), by_example(mesh, 0))
        )
        # check_vma off: on, it would add up the gradients as well, and so twice.
        over_mesh = functools.partial(jax.shard_map, mesh=mesh, check_vma=False)
        train = over_mesh(
            functools.partial(train, axis_name=AXIS),
            in_specs=(none, batches, none, none),
            out_specs=(none, none),
        )
        predict = over_mesh(predict, in_specs=(none, batch), out_specs=batch)
    return (
        jax.jit(train, donate_argnums=0, out_shardings=(whole, whole)),
        # All processes need the logits of all devices, and they are small.
        jax.jit(predict, out_shardings=whole),
    )


def make_mesh(devices: Sequence[Device]) -> Mesh:
    """Return a mesh of one axis, over which batches are cut."""
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def by_example(mesh: Mesh, axis: int) -> NamedSharding:
    """Return the sharding of batches whose examples lie along `axis`."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def _by_example(mesh: Mesh, batches: dict[str, np.ndarray], axis: int) -> Any:
    sharding = by_example(mesh, axis)
    if jax.process_count() == 1:
        return jax.device_put(batches, sharding)
    put = functools.partial(jax.make_array_from_process_local_data, sharding)
    return jax.tree.map(put, batches)


def _replicated(mesh: Mesh, _shape: tuple[int, ...]) -> NamedSharding:
    return replicated(mesh)


def _place(sharding: Callable[[tuple[int, ...]], NamedSharding], tree: Any) -> Any:
    def put(leaf: Any) -> Array:
        # A copy, for steps donate what they are given. Committed, all of it: what
        # comes from a checkpoint is, and were the rest not, every program would be
        # compiled twice.
        host = np.array(leaf, jax.dtypes.canonicalize_dtype(np.asarray(leaf).dtype))
        return jax.make_array_from_callback(
            host.shape, sharding(host.shape), lambda index: host[index]
        )

    return jax.tree.map(put, tree)


def _unplace(mesh: Mesh, tree: Any) -> Any:
    def whole(leaf: Array) -> np.ndarray:
        if leaf.is_fully_addressable and not leaf.is_fully_replicated:
            return np.array(leaf)
        return np.array(jax.device_put(leaf, replicated(mesh)).addressable_data(0))

    return jax.tree.map(whole, tree)
