"""The steps of several runs in one program: `vmap` over runs, cut over the devices.

Runs of the same texts and shapes that differ in seed and learning rate alone keep a
device busier together than one after the other, where a step is too small for it.

Shapes: `K` runs, `S` steps, `B` batch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.training.train_state import TrainState
from jax import Array
from jax.sharding import PartitionSpec
from jaxtyping import Float, Int, Key

from gpt2_jax.engine.devices import Device, pad_steps
from gpt2_jax.engine.mesh import AXIS, make_mesh, replicated
from gpt2_jax.engine.steps import train_steps
from gpt2_jax.engine.texts import MAX_STEPS, Texts


class TogetherSteps:
    """`train_steps` of `K` runs at once; each device takes those of its runs.

    Args:
        texts: of all runs; every device holds them whole.
        size: the runs of a call; fewer are filled up, so that one program serves.
        step: what `train_steps` is given beside its arrays.
    """

    def __init__(
        self, texts: Texts, devices: Sequence[Device], size: int, **step: Any
    ) -> None:
        self._mesh = make_mesh(devices)
        self.size = -(-size // len(devices)) * len(devices)
        take = functools.partial(_take, mesh=self._mesh, **step)
        whole = replicated(self._mesh)
        self.program = jax.jit(take, static_argnums=5, out_shardings=whole)
        self._data = jax.device_put(texts.data, whole)

    def train(
        self,
        states: Sequence[TrainState],
        rows: Int[np.ndarray, "K S B"],
        keys: Sequence[Key[Array, ""]],
        width: int,
    ) -> tuple[list[TrainState], Float[np.ndarray, "K S"]]:
        """Take the steps of each run; the states come back where they lay.

        Returns the states, and the losses.
        """
        arguments = self.arguments(states, rows, keys, width)
        new, losses = self.program(*arguments)
        found = []
        for state, one in zip(states, new, strict=False):
            where = jax.tree.map(lambda leaf: leaf.sharding, state)
            found.append(jax.device_put(one, where))
        return found, np.asarray(losses)[: len(states), : rows.shape[1]]

    def arguments(
        self,
        states: Sequence[TrainState],
        rows: Int[np.ndarray, "K S B"],
        keys: Sequence[Key[Array, ""]],
        width: int,
    ) -> tuple[Any, ...]:
        """Return the arguments of `program`; the last run fills what is missing."""
        missing = self.size - len(states)

        def full(values: Sequence[Any] | np.ndarray) -> list[Any]:
            return [*values, *[values[-1]] * missing]

        padded = np.stack([pad_steps(some, MAX_STEPS) for some in full(rows)])
        return (
            jax.device_put(full(states), replicated(self._mesh)),
            self._data,
            padded,
            np.int32(rows.shape[1]),
            jnp.stack(full(keys)),
            width,
        )


def _take(
    states: Sequence[TrainState],
    data: Any,
    rows: Int[Array, "K S B"],
    count: Int[Array, ""],
    keys: Key[Array, " K"],
    width: int,
    *,
    mesh: Any,
    **step: Any,
) -> tuple[list[TrainState], Float[Array, "K S"]]:
    """Take `count` steps of each run, on `data` of the texts of all."""

    def one(state: Any, rows: Array, key: Array, data: Any, count: Array) -> Any:
        return train_steps(state, data, rows, count, key, width, **step)

    many = jax.vmap(one, in_axes=(0, 0, 0, None, None))
    if mesh.size > 1:
        cut, whole = PartitionSpec(AXIS), PartitionSpec()
        many = jax.shard_map(
            many,
            mesh=mesh,
            in_specs=(cut, cut, cut, whole, whole),
            out_specs=cut,
            check_vma=False,
        )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    found, losses = many(stacked, rows, keys, data, count)

    def of(run: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[run], found)

    return list(map(of, range(len(states)))), losses
