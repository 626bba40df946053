"""Params, gradients and optimizer state cut over the devices: `--shard fsdp`.

Every leaf lies cut along its largest axis that the devices divide. A block's params are
gathered where it runs, and once more for its gradients, which are cut at once; so no
device ever holds more of the model than a few blocks.

Shapes: `B` batch, `T` tokens, `D` embed_dim, `C` classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax.training.train_state import TrainState
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gpt2_jax.blocks import Block, attention_mask
from gpt2_jax.model import GPT2
from gpt2_jax.training.steps import predict_step, train_batches
from gpt2_jax.tree import Params


def leaf_sharding(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """Return how a leaf of `shape` lies on the one axis of `mesh`."""
    spec: list[str | None] = [None] * len(shape)
    cut = [size if size % mesh.size == 0 else 0 for size in shape]
    if any(cut):
        spec[cut.index(max(cut))] = mesh.axis_names[0]
    return NamedSharding(mesh, PartitionSpec(*spec))


def fsdp_programs(
    mesh: Mesh, *, labels: Params, unroll: bool = False, **step: Any
) -> tuple[Callable[..., Any], Callable[..., Array]]:
    """Return `steps.train_batches` and `predict_step`, as `parallel.jit_programs`.

    Params and state bring `leaf_sharding`s. Here XLA adds up the gradients, to what
    each device keeps of them. `unroll`: every block is compiled, not one for all.
    """
    apply = functools.partial(apply_gathered, mesh=mesh, unroll=unroll)
    whole = NamedSharding(mesh, PartitionSpec())

    def train_cut(*arguments: Any) -> tuple[TrainState, Array]:
        state, losses = train_batches(*arguments, labels=labels, apply=apply, **step)
        return jax.tree.map(functools.partial(_cut, mesh), state), losses

    def predict(params: Params, batch: dict[str, Array]) -> Array:
        logits = predict_step(params, batch, apply=apply, **step)
        return jax.lax.with_sharding_constraint(logits, whole)

    return jax.jit(train_cut, donate_argnums=0), jax.jit(predict)


def apply_gathered(
    model: GPT2,
    params: Params,
    batch: dict[str, Any],
    *,
    mesh: Mesh,
    split: int = 0,
    key: Array | None = None,
    unroll: bool = False,
) -> Array:
    """Return class logits [B, C] of a batch of tokens, as `steps.apply_model`.

    All blocks but the last are one scan, compiled once, over their stacked params, and
    only the output of each is kept for its gradients.
    """
    assert split == 0  # all blocks train
    config, last = model.config, model.config.num_layers - 1
    below = [f"h_{i}" for i in range(last)]
    gather = functools.partial(jax.tree.map, functools.partial(_gather, mesh))
    ends = gather({name: leaf for name, leaf in params.items() if name not in below})
    tokens, lengths = batch["tokens"], batch["lengths"]

    def run(method: Any, x: Array, split: int) -> Array:
        y = model.apply(
            {"params": ends}, x, lengths, split, method=method, **_dropout(key)
        )
        return cast(Array, y)

    def block(x: Array, layer: tuple[Params, Array]) -> tuple[Array, None]:
        kernels, index = layer
        dropout = _dropout(None if key is None else jax.random.fold_in(key, index))
        y = Block(config).apply({"params": gather(kernels)}, x, mask, **dropout)
        return cast(Array, y), None

    mask = attention_mask(config, tokens.shape[1], lengths, positions=None)
    x = run(GPT2.trunk, tokens, 0)  # [B, T, D]
    if below:
        stacked = jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *(params[name] for name in below)
        )
        block = jax.checkpoint(block, prevent_cse=unroll)  # a scan has none to prevent
        x, _ = jax.lax.scan(block, x, (stacked, jnp.arange(last)), unroll=unroll)
    return run(GPT2.top, x, last)


def _dropout(key: Array | None) -> dict[str, Any]:
    return {
        "deterministic": key is None,
        "rngs": None if key is None else {"dropout": key},
    }


def _cut(mesh: Mesh, leaf: Array) -> Array:
    return jax.lax.with_sharding_constraint(leaf, leaf_sharding(mesh, leaf.shape))


def _gather(mesh: Mesh, leaf: Array) -> Array:
    """Return the whole of `leaf` on every device; its gradient is cut again."""

    @jax.custom_vjp
    def whole(x: Array) -> Array:
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec()))

    whole.defvjp(lambda x: (whole(x), None), lambda _, grad: (_cut(mesh, grad),))
    return whole(leaf)
