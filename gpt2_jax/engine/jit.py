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
from jax.sharding import Mesh, NamedSharding
from jax.stages import Wrapped
from jaxtyping import Float, Int, Key

from gpt2_jax.engine.devices import Device, local_batches, pad_steps
from gpt2_jax.engine.forward import predict_step
from gpt2_jax.engine.fsdp import fsdp_programs
from gpt2_jax.engine.loss import Loss, cross_entropy
from gpt2_jax.engine.mesh import (
    AXIS,
    each_device,
    gather_tree,
    leaf_sharding,
    make_mesh,
    place_batches,
    place_tree,
    replicated,
    specs,
)
from gpt2_jax.engine.resident import ResidentSteps, resident_programs
from gpt2_jax.engine.steps import train_batches
from gpt2_jax.engine.texts import Texts
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
    train: dict[str, Any] = {"param_labels": param_labels, "loss": loss}
    train["accumulate"] = accumulate
    if resident and shard == "none":
        programs = resident_programs(make_mesh(devices), **step, **train)
        return ResidentSteps(texts, devices, programs)
    return MeshSteps(texts, devices, step, train, shard)


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
        whole, steps, rows = specs(mesh)
        own = functools.partial(train, axis_name=AXIS)
        train = each_device(mesh, own, (whole, steps, whole, whole), (whole, whole))
        predict = each_device(mesh, predict, (whole, rows), rows)
    placed = replicated(mesh)
    return (
        jax.jit(train, donate_argnums=0, out_shardings=(placed, placed)),
        # All processes need the logits of all devices, and they are small.
        jax.jit(predict, out_shardings=placed),
    )
