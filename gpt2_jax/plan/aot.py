"""The train step, compiled from shapes alone, for devices that need not be there.

Shapes: `S` steps, `B` batch, `T` tokens, `D` embed_dim, `N` devices.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.training.train_state import TrainState
from jax.sharding import NamedSharding

from gpt2_jax.config import GPT2Config, TrainConfig
from gpt2_jax.engine.devices import Device
from gpt2_jax.engine.fsdp import fsdp_programs
from gpt2_jax.engine.jit import jit_programs
from gpt2_jax.engine.mesh import by_example, leaf_sharding, make_mesh, replicated
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.param_labels import label_params, trunk_depth
from gpt2_jax.engine.pmap import pmap_programs
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.model.gpt2 import GPT2, head_inputs, param_shapes
from gpt2_jax.model.scan import is_scanned
from gpt2_jax.model.tree import Params, split_params

STEPS = 2  # of one call; the compiler counts the body of a loop once

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4}


_BYTES |= {"f32": 4, "s64": 8, "u64": 8}


_COLLECTIVES = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"


@dataclasses.dataclass(frozen=True)
class AbstractRun:
    """A run of which only shapes are known."""

    model: GPT2
    param_labels: Params
    depth: int  # of the trunk, which has been run
    state: TrainState


def abstract_run(config: GPT2Config, train: TrainConfig) -> AbstractRun:
    """Return what `finetune` would train of a classifier of this config."""
    lora = train.lora_rank if "lora" in train.trainable else 0
    config = dataclasses.replace(config, lora_rank=lora, lora_alpha=train.lora_alpha)
    model, params = GPT2(config), param_shapes(config)
    param_labels = label_params(params, train.trainable, config.num_layers)
    depth = trunk_depth(param_labels, config.num_layers)
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


def compile_train(
    run: AbstractRun,
    train: TrainConfig,
    devices: Sequence[Device],
    width: int,
    *,
    unroll: bool = False,
) -> Any:
    """Compile the train step for `devices`; a batch they do not divide is padded.

    `unroll`: under fsdp every block is compiled, not one for all.
    """
    step: dict[str, Any] = {"model": run.model, "param_labels": run.param_labels}
    step["depth"] = run.depth
    num = len(devices)
    size = train.batch_size + -train.batch_size % num
    batches, state = abstract_batches(run, size, width), run.state
    count = jax.ShapeDtypeStruct((), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    if train.parallel == "pmap":
        program, _ = pmap_programs(devices, accumulate=train.accumulate, **step)
        state = jax.tree.map(lambda x: _shaped(x, (num, *x.shape)), state)
        batches = {
            name: _shaped(x, (STEPS, num, size // num, *x.shape[2:]))
            for name, x in batches.items()
        }
    else:
        mesh = make_mesh(devices)
        if train.shard == "fsdp":
            program, _ = fsdp_programs(
                mesh, unroll=unroll, accumulate=train.accumulate, **step
            )
        else:
            program, _ = jit_programs(mesh, accumulate=train.accumulate, **step)
        cut_leaf = functools.partial(leaf_sharding, mesh)
        state = jax.tree.map(
            lambda x: _shaped(
                x,
                x.shape,
                cut_leaf(x.shape) if train.shard == "fsdp" else replicated(mesh),
            ),
            state,
        )
        cut = by_example(mesh, axis=1)
        batches = {name: _shaped(x, x.shape, cut) for name, x in batches.items()}
        count, key = (_shaped(x, (), replicated(mesh)) for x in (count, key))
    return program.lower(state, batches, count, key).compile()


def step_costs(
    config: GPT2Config,
    train: TrainConfig,
    devices: Sequence[Device],
    width: int,
    compiled: Any,
    depth: int,
) -> tuple[float, int]:
    """Return flops of a device and step, and bytes that its collectives return.

    The compiler counts the body of a loop once, and where the blocks are a scan they
    are one. As they are all alike, models of two and of three blocks, without the loop,
    say what each further one adds.
    """
    if train.shard != "fsdp" and not is_scanned(config.num_layers, depth):
        return _costs(compiled)
    two, three = (
        _costs(
            compile_train(
                abstract_run(dataclasses.replace(config, num_layers=layers), train),
                train,
                devices,
                width,
                unroll=True,
            )
        )
        for layers in (2, 3)
    )
    more = config.num_layers - 2
    return two[0] + more * (three[0] - two[0]), two[1] + more * (three[1] - two[1])


def _costs(compiled: Any) -> tuple[float, int]:
    sent = sum(collective_bytes(compiled.as_text()).values())
    return compiled.cost_analysis()["flops"], sent


def collective_bytes(hlo: str) -> dict[str, int]:
    """Add up, by kind, the bytes that the collectives of a compiled program return."""
    total: dict[str, int] = {}
    for line in hlo.splitlines():
        match = re.search(rf"= (.*?) ({_COLLECTIVES})(?:-start)?\(", line)
        if match is None:
            continue
        for dtype, sizes in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", match[1]):
            shape = [int(n) for n in sizes.split(",") if n]
            total[match[2]] = total.get(match[2], 0) + math.prod(shape) * _BYTES[dtype]
    return total


def _shaped(
    leaf: Any, shape: tuple[int, ...], sharding: NamedSharding | None = None
) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=sharding)
