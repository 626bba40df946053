"""The steps of several runs in one program: `vmap` over runs, cut over the devices.

Runs of the same texts and shapes that differ in seed and learning rate alone keep a
device busier together than one after the other, where a step is too small for it.

Shapes: `K` runs, `S` steps, `B` batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState
from jax import Array
from jax.sharding import PartitionSpec
from jaxtyping import Float, Int, Key

from gpt2_jax.engine.devices import Device, pad_steps
from gpt2_jax.engine.mesh import AXIS, make_mesh, replicated
from gpt2_jax.engine.steps import train_steps
from gpt2_jax.engine.texts import MAX_STEPS, Texts

# Makes the optimizer of a run from its learning rate, a number of the program's input.
MakeOptimizer = Callable[[Any], optax.GradientTransformation]


class TogetherSteps:
    """`train_steps` of `K` runs at once; each device takes those of its runs.

    Args:
        texts: of all runs; every device holds them whole.
        size: the runs of a call; fewer are filled up, so that one program serves.
        step: what `train_steps` is given beside its arrays.
    """

    def __init__(
        self,
        texts: Texts,
        devices: Sequence[Device],
        size: int,
        optimizer: MakeOptimizer,
        **step: Any,
    ) -> None:
        self._mesh = make_mesh(devices)
        self.size = -(-size // len(devices)) * len(devices)
        take = functools.partial(_take, mesh=self._mesh, optimizer=optimizer, **step)
        whole = replicated(self._mesh)
        self.program = jax.jit(take, static_argnums=6, out_shardings=whole)
        self._data = jax.device_put(texts.data, whole)

    def train(
        self,
        states: Sequence[TrainState],
        rates: Sequence[float],
        rows: Int[np.ndarray, "K S B"],
        keys: Sequence[Key[Array, ""]],
        width: int,
    ) -> tuple[list[TrainState], Float[np.ndarray, "K S"]]:
        """Take the steps of each run; the states come back where they lay.

        Returns the states, and the losses.
        """
        arguments = self.arguments(states, rates, rows, keys, width)
        bare, losses = self.program(*arguments)
        found = []
        for state, (step, params, opt_state) in zip(states, bare, strict=False):
            new = state.replace(step=step, params=params, opt_state=opt_state)
            where = jax.tree.map(lambda leaf: leaf.sharding, state)
            found.append(jax.device_put(new, where))
        return found, np.asarray(losses)[: len(states), : rows.shape[1]]

    def arguments(
        self,
        states: Sequence[TrainState],
        rates: Sequence[float],
        rows: Int[np.ndarray, "K S B"],
        keys: Sequence[Key[Array, ""]],
        width: int,
    ) -> tuple[Any, ...]:
        """Return the arguments of `program`; the last run fills what is missing."""
        missing = self.size - len(states)

        def full(values: Sequence[Any] | np.ndarray) -> list[Any]:
            return [*values, *[values[-1]] * missing]

        bare = tuple((s.step, s.params, s.opt_state) for s in full(states))
        whole = replicated(self._mesh)
        padded = np.stack([pad_steps(some, MAX_STEPS) for some in full(rows)])
        return (
            jax.device_put(bare, whole),
            self._data,
            padded,
            np.int32(rows.shape[1]),
            jnp.stack(full(keys)),
            np.asarray(full(rates), np.float32),
            width,
        )


def _take(
    bare: tuple[Any, ...],
    data: Any,
    rows: Int[Array, "K S B"],
    count: Int[Array, ""],
    keys: Key[Array, " K"],
    rates: Float[Array, " K"],
    width: int,
    *,
    mesh: Any,
    optimizer: MakeOptimizer,
    **step: Any,
) -> tuple[tuple[Any, ...], Float[Array, "K S"]]:
    """Take `count` steps of each run.

    Args:
        bare: (step, params, opt_state) of each run.
        data: of the texts of all.
    """

    def one(
        run: Any, rows: Array, key: Array, rate: Array, data: Any, count: Array
    ) -> tuple[Any, Array]:
        number, params, opt_state = run
        state = TrainState(
            step=number,
            apply_fn=_unused,
            params=params,
            tx=optimizer(rate),
            opt_state=opt_state,
        )
        state, losses = train_steps(state, data, rows, count, key, width, **step)
        return (state.step, state.params, state.opt_state), losses

    many = jax.vmap(one, in_axes=(0, 0, 0, 0, None, None))
    if mesh.size > 1:
        cut, whole = PartitionSpec(AXIS), PartitionSpec()
        many = jax.shard_map(
            many,
            mesh=mesh,
            in_specs=(cut, cut, cut, cut, whole, whole),
            out_specs=cut,
            check_vma=False,
        )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *bare)
    found, losses = many(stacked, rows, keys, rates, data, count)

    def of(run: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[run], found)

    return tuple(map(of, range(len(bare)))), losses


def _unused(*_: Any) -> None:
    """Stand where a state holds the model's `apply`, which no step calls."""
