"""The pure steps on devices that hold all texts each: a call sends them only rows.

Shapes: `S` steps, `B` batch, `C` classes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax.training.train_state import TrainState
from jax import Array
from jax.sharding import Mesh
from jax.stages import Wrapped
from jaxtyping import Float, Int, Key

from gpt2_jax.engine.devices import Device, local_rows, pad_steps
from gpt2_jax.engine.forward import predict_packed, predict_rows
from gpt2_jax.engine.loss import Loss, cross_entropy
from gpt2_jax.engine.mesh import (
    AXIS,
    each_device,
    make_mesh,
    place_batches,
    place_tree,
    replicated,
    specs,
)
from gpt2_jax.engine.packing import Pack, place_texts
from gpt2_jax.engine.steps import train_packed, train_steps
from gpt2_jax.engine.texts import MAX_STEPS, Texts
from gpt2_jax.model.tree import Params


class ResidentSteps:
    """The steps on devices that hold all texts each; a call sends them only rows."""

    def __init__(
        self,
        texts: Texts,
        devices: Sequence[Device],
        step: dict[str, Any],
        train: dict[str, Any],
    ) -> None:
        self._texts, self._devices = texts, devices
        self.num_devices = len(devices)
        self._mesh = make_mesh(devices)
        (self._train, self._predict), packed = resident_programs(
            self._mesh, **step, **train
        )
        self._train_packed, self._predict_packed = packed
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
        losses, start = [], 0
        for pack, same in itertools.groupby(self._texts.pack(batch) for batch in rows):
            call = rows[start : start + len(list(same))]
            state, some = self._take(state, call, key, width, pack)
            losses.append((some, len(call)))
            start += len(call)
        return state, np.concatenate([np.asarray(x)[:count] for x, count in losses])

    def _take(
        self,
        state: TrainState,
        rows: np.ndarray,
        key: Array,
        width: int,
        pack: Pack | None,
    ) -> tuple[TrainState, Array]:
        count, filled = np.int32(len(rows)), pad_steps(rows, MAX_STEPS)
        if pack is None:
            sent = self._sent(filled, axis=1)
            return self._train(state, self.data, sent, count, key, width)
        lengths = self._texts.lengths[filled]
        begins = np.stack([place_texts(batch, pack.width)[0] for batch in lengths])
        given = (state, self.data, filled, begins, count, key)
        return self._train_packed(*given, pack)

    def predict(
        self, params: Params, rows: Int[np.ndarray, " B"], width: int
    ) -> Float[Array, "_ C"]:
        pack = self._texts.pack(rows)
        if pack is None:
            return self._predict(params, self.data, self._sent(rows, axis=0), width)
        begins, _ = place_texts(self._texts.lengths[rows], pack.width)
        return self._predict_packed(params, self.data, rows, begins, pack)

    def most_steps(self, batch_size: int, width: int) -> int:
        return MAX_STEPS

    def place(self, tree: Any) -> Any:
        return place_tree(lambda _: replicated(self._mesh), tree)

    def unplace(self, tree: Any) -> Any:
        return tree

    def _sent(self, rows: np.ndarray, axis: int) -> Any:
        if self.num_devices == 1:
            return rows
        ours = local_rows(rows, len(self._texts), self._devices)
        return place_batches(self._mesh, {"rows": ours}, axis)["rows"]


def resident_programs(
    mesh: Mesh,
    *,
    param_labels: Params,
    accumulate: int = 1,
    loss: Loss = cross_entropy,
    **step: Any,
) -> tuple[tuple[Wrapped, Wrapped], tuple[Wrapped, Wrapped]]:
    """Return `train_steps` and `predict_rows` for `mesh`, and both of packed texts.

    Texts and state lie whole on each device; rows are cut `by_example`. Packed texts
    are for one device.
    """
    more = {"param_labels": param_labels, "accumulate": accumulate, "loss": loss}
    train = functools.partial(train_steps, **more, **step)
    predict = functools.partial(predict_rows, **step)
    packed = functools.partial(train_packed, **more, **step)
    predicted = functools.partial(predict_packed, **step)
    if mesh.size > 1:
        whole, steps, rows = specs(mesh)
        own, given = functools.partial(train, axis_name=AXIS), (whole, whole, steps)
        train = _of_a_width(mesh, own, (*given, whole, whole), (whole, whole))
        predict = _of_a_width(mesh, predict, (whole, whole, rows), rows)
    placed = replicated(mesh)
    both = (placed, placed)
    return (
        (
            jax.jit(train, static_argnums=5, donate_argnums=0, out_shardings=both),
            jax.jit(predict, static_argnums=3, out_shardings=placed),
        ),
        (
            jax.jit(packed, static_argnums=6, donate_argnums=0, out_shardings=both),
            jax.jit(predicted, static_argnums=4, out_shardings=placed),
        ),
    )


def _of_a_width(mesh: Mesh, program: Any, in_specs: Any, out_specs: Any) -> Any:
    def each(*arguments: Any) -> Any:  # the width last
        own = functools.partial(program, width=arguments[-1])
        return each_device(mesh, own, in_specs, out_specs)(*arguments[:-1])

    return each
