"""The pure steps under pmap.

pmap is in maintenance mode, but it is what many TPU scripts are written in; this is
the only module that names it.

Shapes: `S` steps, `B` batch, `C` classes, `N` local devices.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import jax_utils
from flax.training.train_state import TrainState
from jax import Array
from jaxtyping import Float, Int, Key

from gpt2_jax.engine.devices import (
    Device,
    local_batches,
    local_devices,
    local_rows,
    pad_steps,
)
from gpt2_jax.engine.forward import predict_rows, predict_step
from gpt2_jax.engine.loss import Loss, cross_entropy
from gpt2_jax.engine.mesh import AXIS
from gpt2_jax.engine.steps import train_batches, train_steps
from gpt2_jax.engine.texts import MAX_STEPS, Texts
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params


class PmapSteps:
    """The steps for replicated params, and batches cut over `devices`.

    `texts` are tokens, or outputs of the trunk of `depth` blocks. With `resident` each
    device holds all of them, and a call sends it only rows.
    """

    def __init__(
        self,
        model: GPT2,
        param_labels: Params,
        texts: Texts,
        devices: Sequence[Device],
        *,
        depth: int = 0,
        accumulate: int = 1,
        loss: Loss = cross_entropy,
        resident: bool = False,
    ) -> None:
        self._texts, self._devices = texts, devices
        self._local = local_devices(devices)
        self.num_devices = len(devices)
        self._data = self.place(texts.padded_data) if resident else None
        self._train, self._predict = pmap_programs(
            devices,
            resident=resident,
            param_labels=param_labels,
            accumulate=accumulate,
            loss=loss,
            model=model,
            depth=depth,
        )

    def train(
        self,
        state: TrainState,
        rows: Int[np.ndarray, "S B"],
        key: Key[Array, ""],
        width: int,
    ) -> tuple[TrainState, Float[np.ndarray, " S"]]:
        filled = pad_steps(rows, self.most_steps(rows.shape[1], width))
        sent, of = self._sent(filled, width, axis=1)
        state, losses = self._train(state, *sent, np.int32(len(rows)), key, *of)
        return state, np.asarray(losses)[: len(rows)]

    def predict(
        self, params: Params, rows: Int[np.ndarray, " B"], width: int
    ) -> Float[Array, "_ C"]:
        sent, of = self._sent(rows, width, axis=0)
        logits = self._predict(params, *sent, *of)
        return logits.reshape(-1, logits.shape[-1])  # [all devices, B/N, C]

    def most_steps(self, batch_size: int, width: int) -> int:
        if self._data is not None:
            return MAX_STEPS
        return self._texts.most_steps(batch_size, width)

    def place(self, tree: Any) -> Any:
        # Placed as the step's results are, or the second step is compiled anew.
        return jax_utils.replicate(tree, self._local, AXIS)

    def unplace(self, tree: Any) -> Any:
        # flax's unreplicate keeps the leading axis where the mesh is one of many.
        return jax.tree.map(
            lambda x: np.array(x.addressable_data(0)).reshape(x.shape[1:]), tree
        )

    def _sent(
        self, rows: np.ndarray, width: int, axis: int
    ) -> tuple[tuple[Any, ...], tuple[int, ...]]:
        """Return what a program takes of `rows`: all texts and these, or their batches.

        B examples along `axis` are cut to N, B/N. The programs of all texts take the
        width too, as their last argument.
        """
        num = len(self._local)

        def cut(x: np.ndarray) -> np.ndarray:
            return x.reshape(*x.shape[:axis], num, -1, *x.shape[axis + 1 :])

        if self._data is not None:
            ours = local_rows(rows, len(self._texts), self._devices)
            return (self._data, cut(ours)), (width,)
        batches = local_batches(self._texts, rows, width, self._devices)
        return (jax.tree.map(cut, batches),), ()


def pmap_programs(
    devices: Sequence[Device],
    *,
    param_labels: Params,
    accumulate: int = 1,
    loss: Loss = cross_entropy,
    resident: bool = False,
    **step: Any,
) -> tuple[Any, Any]:  # what pmap returns has no class of its own
    """Return `steps.train_batches` and `predict_step`, to be compiled for `devices`.

    State and params are replicated along a leading axis [N, ...]; batches are
    [S, N, B/N, ...] and [N, B/N, ...]. Gradients are added by the step itself.

    With `resident` they are `train_steps` and `predict_rows`: each device has all data,
    and rows are cut in the place of batches.
    """
    score = predict_rows if resident else predict_step

    def predict(params: Params, *arguments: Any) -> Array:
        # All processes need the logits of all devices, and they are small.
        return jax.lax.all_gather(score(params, *arguments, **step), AXIS)

    train = functools.partial(
        train_steps if resident else train_batches,
        param_labels=param_labels,
        axis_name=AXIS,
        accumulate=accumulate,
        loss=loss,
        **step,
    )
    over = functools.partial(jax.pmap, axis_name=AXIS, devices=devices)
    if resident:
        of_data: dict[str, Any] = {"static_broadcasted_argnums": 5}
        of_data["in_axes"] = (0, 0, 1, None, None, None)
        of_rows: dict[str, Any] = {"static_broadcasted_argnums": 3}
    else:
        of_data, of_rows = {"in_axes": (0, 1, None, None)}, {}
    return (
        over(train, out_axes=(0, None), donate_argnums=0, **of_data),
        over(predict, out_axes=None, **of_rows),
    )
