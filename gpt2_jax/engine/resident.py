"""The pure steps on devices that hold all texts each: a call sends them only rows.

Shapes: `S` steps, `B` batch, `C` classes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

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
    place_batches,
    place_tree,
    replicated,
    specs,
)
from gpt2_jax.engine.packing import Pack, place_texts
from gpt2_jax.engine.steps import train_packed, train_steps
from gpt2_jax.engine.texts import MAX_STEPS, Texts
from gpt2_jax.model.tree import Params


class Programs(NamedTuple):
    """The steps for a mesh, compiled for each shape that they are called with."""

    mesh: Mesh
    train: Wrapped
    predict: Wrapped
    train_packed: Wrapped
    predict_packed: Wrapped


class Call(NamedTuple):
    """A program, and what it is called with."""

    program: Wrapped
    arguments: tuple[Any, ...]


class ResidentSteps:
    """The steps on devices that hold all texts each; a call sends them only rows.

    Args:
        to_come: of the values of `texts` the shape alone is right. Then nothing is
            called, but calls can be compiled: `train_call`, `predict_call`.
    """

    def __init__(
        self,
        texts: Texts,
        devices: Sequence[Device],
        programs: Programs,
        *,
        to_come: bool = False,
    ) -> None:
        self._texts, self._devices, self._programs = texts, devices, programs
        self.num_devices = len(devices)
        data = texts.data if len(devices) == 1 else texts.padded_data
        if to_come:
            self.data = self.shapes(data)
        elif len(devices) > 1:
            self.data = self.place(data)
        else:
            # Nothing donates it, so a CPU reads what lies at an address that suits it.
            self.data = jax.device_put(data, replicated(programs.mesh))

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
            program, arguments = self.train_call(state, call, key, width, pack)
            state, some = program(*arguments)
            losses.append((some, len(call)))
            start += len(call)
        return state, np.concatenate([np.asarray(x)[:count] for x, count in losses])

    def train_call(
        self,
        state: TrainState,
        rows: Int[np.ndarray, "S B"],
        key: Key[Array, ""],
        width: int,
        pack: Pack | None,
    ) -> Call:
        """Return the call that takes a step on each of `rows`, padded or packed."""
        count, filled = np.int32(len(rows)), pad_steps(rows, MAX_STEPS)
        if pack is None:
            sent = self._sent(filled, axis=1)
            given = (state, self.data, sent, count, key, width)
            return Call(self._programs.train, given)
        lengths = self._texts.lengths[filled]
        begins = np.stack([place_texts(batch, pack.width)[0] for batch in lengths])
        given = (state, self.data, filled, begins, count, key, pack)
        return Call(self._programs.train_packed, given)

    def predict(
        self, params: Params, rows: Int[np.ndarray, " B"], width: int
    ) -> Float[Array, "_ C"]:
        program, arguments = self.predict_call(params, rows, width)
        return program(*arguments)

    def predict_call(
        self, params: Params, rows: Int[np.ndarray, " B"], width: int
    ) -> Call:
        """Return the call that scores `rows`, packed if they can be."""
        pack = self._texts.pack(rows)
        if pack is None:
            given = (params, self.data, self._sent(rows, axis=0), width)
            return Call(self._programs.predict, given)
        begins, _ = place_texts(self._texts.lengths[rows], pack.width)
        given = (params, self.data, rows, begins, pack)
        return Call(self._programs.predict_packed, given)

    def most_steps(self, batch_size: int, width: int) -> int:
        return MAX_STEPS

    def place(self, tree: Any) -> Any:
        return place_tree(lambda _: replicated(self._programs.mesh), tree)

    def shapes(self, tree: Any) -> Any:
        """Return the shapes of what `place` would return."""
        placed = replicated(self._programs.mesh)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype), sharding=placed
            ),
            tree,
        )

    def unplace(self, tree: Any) -> Any:
        return tree

    def _sent(self, rows: np.ndarray, axis: int) -> Any:
        if self.num_devices == 1:
            return rows
        ours = local_rows(rows, len(self._texts), self._devices)
        return place_batches(self._programs.mesh, {"rows": ours}, axis)["rows"]


def resident_programs(
    mesh: Mesh,
    *,
    param_labels: Params,
    accumulate: int = 1,
    loss: Loss = cross_entropy,
    **step: Any,
) -> Programs:
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
    return Programs(
        mesh,
        jax.jit(train, static_argnums=5, donate_argnums=0, out_shardings=both),
        jax.jit(predict, static_argnums=3, out_shardings=placed),
        jax.jit(packed, static_argnums=6, donate_argnums=0, out_shardings=both),
        jax.jit(predicted, static_argnums=4, out_shardings=placed),
    )


def _of_a_width(mesh: Mesh, program: Any, in_specs: Any, out_specs: Any) -> Any:
    def each(*arguments: Any) -> Any:  # the width last
        own = functools.partial(program, width=arguments[-1])
        return each_device(mesh, own, in_specs, out_specs)(*arguments[:-1])

    return each
