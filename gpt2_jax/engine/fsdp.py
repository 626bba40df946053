"""Params, gradients and optimizer state cut over the devices: `--shard fsdp`.

Every leaf lies cut along its largest axis that the devices divide. A block's params are
gathered where it runs, and once more for its gradients, which are cut at once; so no
device ever holds more of the model than a few blocks.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
from flax.training.train_state import TrainState
from jax import Array
from jax.sharding import Mesh
from jax.stages import Wrapped

from gpt2_jax.engine.forward import predict_step
from gpt2_jax.engine.loss import Loss, cross_entropy
from gpt2_jax.engine.mesh import leaf_sharding, replicated
from gpt2_jax.engine.steps import train_batches
from gpt2_jax.model.scan import apply_scanned
from gpt2_jax.model.tree import Params


def fsdp_programs(
    mesh: Mesh,
    *,
    param_labels: Params,
    accumulate: int = 1,
    loss: Loss = cross_entropy,
    **step: Any,
) -> tuple[Wrapped, Wrapped]:
    """Return `steps.train_batches` and `predict_step`, as `jit.jit_programs`.

    Params and state bring `leaf_sharding`s. Here XLA adds up the gradients, to what
    each device keeps of them.
    """
    gather = functools.partial(jax.tree.map, functools.partial(_gather, mesh))
    apply = functools.partial(apply_scanned, gather=gather, rematerialize=True)
    whole = replicated(mesh)

    def train_cut(*arguments: Any) -> tuple[TrainState, Array]:
        state, losses = train_batches(
            *arguments,
            param_labels=param_labels,
            apply=apply,
            accumulate=accumulate,
            loss=loss,
            **step,
        )
        return jax.tree.map(functools.partial(_cut, mesh), state), losses

    def predict(params: Params, batch: dict[str, Array]) -> Array:
        logits = predict_step(params, batch, apply=apply, **step)
        return jax.lax.with_sharding_constraint(logits, whole)

    return jax.jit(train_cut, donate_argnums=0), jax.jit(predict)


def _cut(mesh: Mesh, leaf: Array) -> Array:
    return jax.lax.with_sharding_constraint(leaf, leaf_sharding(mesh, leaf.shape))


def _gather(mesh: Mesh, leaf: Array) -> Array:
    """Return the whole of `leaf` on every device; its gradient is cut again."""

    @jax.custom_vjp
    def whole(x: Array) -> Array:
        return jax.lax.with_sharding_constraint(x, replicated(mesh))

    whole.defvjp(lambda x: (whole(x), None), lambda _, grad: (_cut(mesh, grad),))
    return whole(leaf)
