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

from gpt2_jax.engine.devices import Device, local_batches, local_devices, pad_steps
from gpt2_jax.engine.forward import predict_step
from gpt2_jax.engine.loss import Loss, cross_entropy
from gpt2_jax.engine.mesh import AXIS
from gpt2_jax.engine.steps import train_batches
from gpt2_jax.engine.texts import Texts
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params


class PmapSteps:
    """The steps for replicated params, and batches cut over `devices`.

    `texts` are tokens, or outputs of the trunk of `depth` blocks.
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
    ) -> None:
        self._texts, self._devices = texts, devices
        self._local = local_devices(devices)
        self.num_devices = len(devices)
        self._train, self._predict = pmap_programs(
            devices,
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
        batches = self._cut(filled, width, axis=1)
        state, losses = self._train(state, batches, np.int32(len(rows)), key)
        return state, np.asarray(losses)[: len(rows)]

    def predict(
        self, params: Params, rows: Int[np.ndarray, " B"], width: int
    ) -> Float[Array, "_ C"]:
        logits = self._predict(params, self._cut(rows, width, axis=0))
        return logits.reshape(-1, logits.shape[-1])  # [all devices, B/N, C]

    def most_steps(self, batch_size: int, width: int) -> int:
        return self._texts.most_steps(batch_size, width)

    def place(self, tree: Any) -> Any:
        # Placed as the step's results are, or the second step is compiled anew.
        return jax_utils.replicate(tree, self._local, AXIS)

    def unplace(self, tree: Any) -> Any:
        # flax's unreplicate keeps the leading axis where the mesh is one of many.
        return jax.tree.map(
            lambda x: np.array(x.addressable_data(0)).reshape(x.shape[1:]), tree
        )

    def _cut(self, rows: np.ndarray, width: int, axis: int) -> dict[str, np.ndarray]:
        """Return the batches of `rows`, B examples along `axis` cut to N, B/N."""
        batches = local_batches(self._texts, rows, width, self._devices)
        num = len(self._local)
        return {
            name: x.reshape(*x.shape[:axis], num, -1, *x.shape[axis + 1 :])
            for name, x in batches.items()
        }


def pmap_programs(
    devices: Sequence[Device],
    *,
    param_labels: Params,
    accumulate: int = 1,
    loss: Loss = cross_entropy,
    **step: Any,
) -> tuple[Any, Any]:  # what pmap returns has no class of its own
    """Return `steps.train_batches` and `predict_step`, to be compiled for `devices`.

    State and params are replicated along a leading axis [N, ...]; batches are
    [S, N, B/N, ...] and [N, B/N, ...]. Gradients are added by the step itself.
    """

    def predict(params: Params, batch: dict[str, Array]) -> Array:
        # All processes need the logits of all devices, and they are small.
        return jax.lax.all_gather(predict_step(params, batch, **step), AXIS)

    train = functools.partial(
        train_batches,
        param_labels=param_labels,
        axis_name=AXIS,
        accumulate=accumulate,
        loss=loss,
        **step,
    )
    return jax.pmap(
        train,
        axis_name=AXIS,
        in_axes=(0, 1, None, None),
        out_axes=(0, None),
        donate_argnums=0,
        devices=devices,
    ), jax.pmap(predict, axis_name=AXIS, out_axes=None, devices=devices)
