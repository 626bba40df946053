"""The pure steps under jit, over devices that hold all texts or are sent batches.

Shapes: `S` steps, `B` batch, `C` classes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax.training.train_state import TrainState
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.stages import Wrapped
from jaxtyping import Float, Int, Key

from gpt2_jax.engine.devices import Device, local_batches, local_rows, pad_steps
from gpt2_jax.engine.forward import predict_rows, predict_step
from gpt2_jax.engine.fsdp import fsdp_programs
from gpt2_jax.engine.loss import Loss, cross_entropy
from gpt2_jax.engine.mesh import (
    AXIS,
    by_example,
    gather_tree,
    leaf_sharding,
    make_mesh,
    place_batches,
    place_tree,
    replicated,
)
from gpt2_jax.engine.steps import train_batches, train_steps
from gpt2_jax.engine.texts import MAX_STEPS, Texts
from gpt2_jax.engine.wrapper import Steps
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params


def jit_steps(
    model: GPT2,
    param_labels: Params,
    texts: Texts,
    devices: Sequence[Device] = (),
    *,
    depth: int = 0,
    shard: str = "none",
    accumulate: int = 1,
    loss: Loss = cross_entropy,
    resident: bool = True,
) -> Steps:
    """Compile the steps for a mesh of `devices`, or for the first local one.

    Args:
        texts: what the steps read: tokens, or outputs of the trunk of `depth` blocks.
        shard: "none" or "fsdp".
        resident: each device holds all texts, if its params are whole.
    """
    devices = devices or jax.local_devices()[:1]
    step: dict[str, Any] = {"model": model, "depth": depth}
    train = {"param_labels": param_labels, "accumulate": accumulate, "loss": loss}
    if resident and shard == "none":
        return ResidentSteps(texts, devices, step, train)
    return MeshSteps(texts, devices, step, train, shard)


class ResidentSteps:
    """The steps on devices that hold all texts each; a call sends them only rows."""

    def __init__(
        self,
        texts: Texts,
        devices: Sequence[Device],
        step: dict[str, Any],
        train: dict[str, Any],
    ) -> None:
        self._devices, self._padding = devices, len(texts)
        self.num_devices = len(devices)
        self._mesh = make_mesh(devices)
        self._train, self._predict = resident_programs(self._mesh, **step, **train)
        if len(devices) > 1:
            self.data = self.place(texts.padded_data)
        else:
            # Nothing donates it, so a CPU reads what lies at an address that suits it.
            self.data = jax.device_put(texts.data, replicated(self._mesh))

    def train(
        self,
        state: TrainState,
        rows: Int[np.ndarray, "S B"],
        key: Key[Array, ""],
        width: int,
    ) -> tuple[TrainState, Float[np.ndarray, " S"]]:
        count, filled = np.int32(len(rows)), pad_steps(rows, MAX_STEPS)
        sent = self._sent(filled, axis=1)
        state, losses = self._train(state, self.data, sent, count, key, width)
        return state, np.asarray(losses)[: len(rows)]

    def predict(
        self, params: Params, rows: Int[np.ndarray, " B"], width: int
    ) -> Float[Array, "_ C"]:
        return self._predict(params, self.data, self._sent(rows, axis=0), width)

    def most_steps(self, batch_size: int, width: int) -> int:
        return MAX_STEPS

    def place(self, tree: Any) -> Any:
        return place_tree(lambda _: replicated(self._mesh), tree)

    def unplace(self, tree: Any) -> Any:
        return tree

    def _sent(self, rows: np.ndarray, axis: int) -> Any:
        if self.num_devices == 1:
            return rows
        ours = local_rows(rows, self._padding, self._devices)
        return place_batches(self._mesh, {"rows": ours}, axis)["rows"]


class MeshSteps:
    """The steps over a mesh; each call sends each device the examples it works on."""

    def __init__(
        self,
        texts: Texts,
        devices: Sequence[Device],
        step: dict[str, Any],
        train: dict[str, Any],
        shard: str,
    ) -> None:
        self._texts, self._devices, self._shard = texts, devices, shard
        self.num_devices = len(devices)
        self._mesh = make_mesh(devices)
        programs = fsdp_programs if shard == "fsdp" else jit_programs
        self._train, self._predict = programs(self._mesh, **step, **train)

    def train(
        self,
        state: TrainState,
        rows: Int[np.ndarray, "S B"],
        key: Key[Array, ""],
        width: int,
    ) -> tuple[TrainState, Float[np.ndarray, " S"]]:
        steps = self._texts.most_steps(rows.shape[1], width)
        filled, count = pad_steps(rows, steps), np.int32(len(rows))
        batches = local_batches(self._texts, filled, width, self._devices)
        placed = place_batches(self._mesh, batches, axis=1)
        state, losses = self._train(state, placed, count, key)
        return state, np.asarray(losses)[: len(rows)]

    def predict(
        self, params: Params, rows: Int[np.ndarray, " B"], width: int
    ) -> Float[Array, "_ C"]:
        batch = local_batches(self._texts, rows, width, self._devices)
        return self._predict(params, place_batches(self._mesh, batch, axis=0))

    def most_steps(self, batch_size: int, width: int) -> int:
        return self._texts.most_steps(batch_size, width)

    def place(self, tree: Any) -> Any:
        def sharding(shape: tuple[int, ...]) -> NamedSharding:
            if self._shard == "fsdp":
                return leaf_sharding(self._mesh, shape)
            return replicated(self._mesh)

        return place_tree(sharding, tree)

    def unplace(self, tree: Any) -> Any:
        return gather_tree(self._mesh, tree)


def resident_programs(
    mesh: Mesh,
    *,
    param_labels: Params,
    accumulate: int = 1,
    loss: Loss = cross_entropy,
    **step: Any,
) -> tuple[Wrapped, Wrapped]:
    """Return `steps.train_steps` and `predict_rows`, to be compiled for `mesh`.

    Texts and state lie whole on each device; rows are cut `by_example`.
    """
    more = {"param_labels": param_labels, "accumulate": accumulate, "loss": loss}
    train = functools.partial(train_steps, **more, **step)
    predict = functools.partial(predict_rows, **step)
    if mesh.size > 1:
        whole, steps, rows = _specs(mesh)
        own, given = functools.partial(train, axis_name=AXIS), (whole, whole, steps)
        train = _of_a_width(mesh, own, (*given, whole, whole), (whole, whole))
        predict = _of_a_width(mesh, predict, (whole, whole, rows), rows)
    placed = replicated(mesh)
    both = (placed, placed)
    return (
        jax.jit(train, static_argnums=5, donate_argnums=0, out_shardings=both),
        jax.jit(predict, static_argnums=3, out_shardings=placed),
    )


def jit_programs(
    mesh: Mesh,
    *,
    param_labels: Params,
    accumulate: int = 1,
    loss: Loss = cross_entropy,
    **step: Any,
) -> tuple[Wrapped, Wrapped]:
    """Return `steps.train_batches` and `predict_step`, to be compiled for `mesh`.

    The arguments bring their shardings: `replicated`, and batches `by_example`. Each
    device takes the step on its examples, which adds up the gradients itself: left to
    XLA, some would be added in parts, and cross the wire more than once.
    """
    more = {"param_labels": param_labels, "accumulate": accumulate, "loss": loss}
    train = functools.partial(train_batches, **more, **step)
    predict = functools.partial(predict_step, **step)
    if mesh.size > 1:
        whole, steps, rows = _specs(mesh)
        own = functools.partial(train, axis_name=AXIS)
        train = _each_device(mesh, own, (whole, steps, whole, whole), (whole, whole))
        predict = _each_device(mesh, predict, (whole, rows), rows)
    placed = replicated(mesh)
    return (
        jax.jit(train, donate_argnums=0, out_shardings=(placed, placed)),
        # All processes need the logits of all devices, and they are small.
        jax.jit(predict, out_shardings=placed),
    )


def _specs(mesh: Mesh) -> tuple[PartitionSpec, PartitionSpec, PartitionSpec]:
    """Return that of what is whole, of batches by step, and of one batch."""
    every = replicated(mesh), by_example(mesh, 1), by_example(mesh, 0)
    whole, steps, rows = (sharding.spec for sharding in every)
    return whole, steps, rows


def _of_a_width(mesh: Mesh, program: Any, in_specs: Any, out_specs: Any) -> Any:
    def each(*arguments: Any) -> Any:  # the width last
        own = functools.partial(program, width=arguments[-1])
        return _each_device(mesh, own, in_specs, out_specs)(*arguments[:-1])

    return each


def _each_device(mesh: Mesh, program: Any, in_specs: Any, out_specs: Any) -> Any:
    # check_vma on would add up the gradients as well, and so twice.
    return jax.shard_map(
        program, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )
