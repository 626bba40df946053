"""A run of which only the shapes are known, and the flops of its programs."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.training.train_state import TrainState
from jax.sharding import NamedSharding

from gpt2_jax.config import GPT2Config, TrainConfig
from gpt2_jax.engine.forward import predict_step
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.param_labels import label_params, trunk_depth
from gpt2_jax.engine.steps import create_train_state, train_batches
from gpt2_jax.model.attention import compiling_for
from gpt2_jax.model.gpt2 import GPT2, head_inputs, param_shapes
from gpt2_jax.model.scan import apply_scanned
from gpt2_jax.model.tree import Params, split_params
from gpt2_jax.plan.counting import matmul_flops

STEPS = 2  # of one call; the compiler counts the body of a loop once


@dataclasses.dataclass(frozen=True)
class AbstractRun:
    """A run of which only shapes are known."""

    model: GPT2
    param_labels: Params
    depth: int  # of the trunk, which has been run
    state: TrainState


def abstract_run(
    config: GPT2Config, train: TrainConfig, *, reused: bool = True
) -> AbstractRun:
    """Return what `finetune` would train of a classifier of this config.

    `reused`: the frozen trunk has been run, once for all steps.
    """
    lora = train.lora_rank if "lora" in train.trainable else 0
    config = dataclasses.replace(config, lora_rank=lora, lora_alpha=train.lora_alpha)
    model, params = GPT2(config), param_shapes(config)
    param_labels = label_params(params, train.trainable, config.num_layers)
    depth = trunk_depth(param_labels, config.num_layers) if reused else 0
    _, params = split_params(params, config.num_layers, depth)
    _, param_labels = split_params(param_labels, config.num_layers, depth)
    tx = create_optimizer(train, param_labels, total_steps=100)
    state = jax.eval_shape(lambda p: create_train_state(model, p, tx), params)
    state = state.replace(step=jax.ShapeDtypeStruct((), jnp.int32))
    return AbstractRun(model, param_labels, depth, state)


def abstract_batches(run: AbstractRun, batch_size: int, width: int) -> dict[str, Any]:
    """Return the shapes of the batches [S, B, ...] of one call."""
    config = run.model.config
    name, shape, dtype = "tokens", (width,), "int32"
    if run.depth > config.num_layers:
        name, shape, dtype = "features", (1, head_inputs(config)), "float32"
    elif run.depth:
        name, shape, dtype = "features", (width, config.embed_dim), config.dtype
    return {
        name: jax.ShapeDtypeStruct((STEPS, batch_size, *shape), dtype),
        "lengths": jax.ShapeDtypeStruct((STEPS, batch_size), jnp.int32),
        "labels": jax.ShapeDtypeStruct((STEPS, batch_size), jnp.int32),
        "loss_weights": jax.ShapeDtypeStruct((STEPS, batch_size), jnp.float32),
    }


def step_flops(run: AbstractRun, train: TrainConfig, width: int) -> float:
    """Return the flops of the matmuls of a train step, on all devices together."""
    with compiling_for("no card"):  # whose kernel would hide those of the attention
        return program_flops("train", run, train, 1, train.batch_size, width)


def program_flops(
    name: str, run: AbstractRun, train: TrainConfig, num: int, size: int, width: int
) -> float:
    """Return the flops of a step, or of a call, on the examples of one device.

    Args:
        name: of the program: train or evaluate.
        num: the devices that share a batch of `size` texts.
    """
    step: dict[str, Any] = {"model": run.model, "depth": run.depth}
    if train.shard == "fsdp":
        step["apply"] = functools.partial(apply_scanned, rematerialize=True)
    batches = abstract_batches(run, size // num, width)
    if name == "evaluate":
        batch = {k: shaped(x, x.shape[1:]) for k, x in batches.items()}
        predict = functools.partial(predict_step, **step)
        return matmul_flops(predict, run.state.params, batch)
    step |= {"param_labels": run.param_labels, "accumulate": train.accumulate}
    count, key = np.int32(1), jax.eval_shape(lambda: jax.random.key(0))
    take = functools.partial(train_batches, **step)
    return matmul_flops(take, run.state, batches, count, key)


def shaped(
    leaf: Any, shape: tuple[int, ...], sharding: NamedSharding | None = None
) -> jax.ShapeDtypeStruct:
    """Return an array of the dtype of `leaf`, of which only the shape is known."""
    return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=sharding)
