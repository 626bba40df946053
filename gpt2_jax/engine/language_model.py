"""The language model's pure steps, and both on a mesh of devices.

Shapes: `B` sequences, `S` their tokens, `M` pieces of a batch.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Int

from gpt2_jax.engine.mesh import AXIS, by_example, place_tree, replicated
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params

Tokens = Int[Array, "B S"]  # each but the first is to be predicted


def sequence_losses(
    params: Params, tokens: Tokens, *, model: GPT2
) -> Float[Array, " B"]:
    """Return the mean cross-entropy, in nats, of what follows in each sequence."""
    logits = cast(Array, model.apply({"params": params}, tokens[:, :-1]))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
    return losses.mean(axis=1)


def train_step(
    state: TrainState,
    tokens: Tokens,
    *,
    model: GPT2,
    accumulate: int = 1,
    axis_name: str | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """Take a step on the mean loss of all sequences; return it too.

    Gradients of `accumulate` pieces are added up before it, which bounds the memory;
    and over `axis_name`, where B are those of one device.
    """

    def loss_fn(params: Params, piece: Array) -> Array:
        return sequence_losses(params, piece, model=model).mean()

    def add(total: Any, piece: Array) -> tuple[Any, None]:
        found = jax.value_and_grad(loss_fn)(state.params, piece)
        return jax.tree.map(jnp.add, total, found), None

    pieces = tokens.reshape(accumulate, -1, tokens.shape[1])  # [M, B/M, S]
    zero = jax.tree.map(jnp.zeros_like, (jnp.float32(0), state.params))
    total, _ = jax.lax.scan(add, zero, pieces)
    loss, grads = jax.tree.map(lambda leaf: leaf / accumulate, total)
    if axis_name is not None:
        loss, grads = jax.lax.pmean((loss, grads), axis_name)
    return state.apply_gradients(grads=grads), loss


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled steps, and how host values reach them."""

    train: Callable[[TrainState, Array], tuple[TrainState, Array]]
    losses: Callable[[Params, Array], Array]  # of sequences [B, S]: [B]
    place: Callable[[Any], Any]  # of a state, on all devices
    cut: Callable[[np.ndarray], Array]  # of sequences, over the devices


def compile_programs(model: GPT2, mesh: Mesh, accumulate: int) -> Programs:
    """Return the steps, to be compiled for `mesh`; each device has its share of B."""
    train = functools.partial(train_step, model=model, accumulate=accumulate)
    losses = functools.partial(sequence_losses, model=model)
    whole, cut = replicated(mesh), by_example(mesh, 0)
    if mesh.size > 1:
        # check_vma off: on, it would add up the gradients as well, and so twice.
        over = functools.partial(jax.shard_map, mesh=mesh, check_vma=False)
        none = PartitionSpec()
        train = over(
            functools.partial(train, axis_name=AXIS),
            in_specs=(none, cut.spec),
            out_specs=(none, none),
        )
        losses = over(losses, in_specs=(none, cut.spec), out_specs=cut.spec)
    return Programs(
        train=jax.jit(train, donate_argnums=0, out_shardings=(whole, whole)),
        losses=jax.jit(losses, out_shardings=whole),
        place=lambda tree: place_tree(lambda _: whole, tree),
        cut=lambda tokens: jax.device_put(tokens, cut),
    )
