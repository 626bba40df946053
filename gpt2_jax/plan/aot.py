"""The programs of a run, from shapes alone, for devices that need not be there.

Shapes: `S` steps, `B` batch, `T` tokens, `D` embed_dim, `N` devices.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gpt2_jax.config import GPT2Config, TrainConfig
from gpt2_jax.engine.devices import Device
from gpt2_jax.engine.forward import predict_program
from gpt2_jax.engine.fsdp import fsdp_programs
from gpt2_jax.engine.jit import jit_programs
from gpt2_jax.engine.mesh import by_example, leaf_sharding, make_mesh, replicated
from gpt2_jax.engine.packing import DEVICE_CALL_TOKENS
from gpt2_jax.engine.pmap import pmap_programs
from gpt2_jax.engine.trunk import block_programs
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.tree import split_params
from gpt2_jax.plan.abstract import (
    STEPS,
    AbstractRun,
    abstract_batches,
    program_flops,
    shaped,
)
from gpt2_jax.plan.counting import matmul_flops


@dataclasses.dataclass(frozen=True)
class Work:
    """A program and the shapes of what it is called with."""

    program: Any  # jitted or pmapped
    arguments: tuple[Any, ...]
    shape: str  # of its batch, in words
    depth: int  # of the trunk below
    flops: Callable[[], float]  # of the matmuls of one device


def prepare(
    name: str,
    run: AbstractRun,
    train: TrainConfig,
    devices: Sequence[Device],
    width: int,
) -> Work:
    """Return the program `name` of a run: trunk, train, evaluate or predict.

    All but train take as many tokens in a call as such a device is given.
    """
    config = run.model.config
    if name == "trunk":
        return _trunk(config, devices[0], width)
    if name == "predict":
        return _predict(config, devices[0], width)
    num = len(devices)
    size = train.batch_size
    if name == "evaluate":
        size = max(DEVICE_CALL_TOKENS * num // width, num)
    size += -size % num  # a batch they do not divide is padded
    taking, predicting = _programs(run, train, devices)
    batches = abstract_batches(run, size, width)
    if name == "train":
        arguments = _placed(run, train, devices, batches)
        program, shape = taking, f"{train.batch_size} x {width}"
    else:
        batch = {k: shaped(x, x.shape[1:]) for k, x in batches.items()}
        arguments = _placed_batch(run, train, devices, batch)
        program, shape = predicting, f"{size} x {width}"
    flops = functools.partial(program_flops, name, run, train, num, size, width)
    return Work(program, arguments, shape, run.depth, flops)


def compile_train(
    run: AbstractRun, train: TrainConfig, devices: Sequence[Device], width: int
) -> Any:
    """Compile the train step for `devices`; a batch they do not divide is padded."""
    work = prepare("train", run, train, devices, width)
    return work.program.lower(*work.arguments).compile()


def _programs(
    run: AbstractRun, train: TrainConfig, devices: Sequence[Device]
) -> tuple[Any, Any]:
    """Return the train and the predict program of a run, as its wrapper has them."""
    step: dict[str, Any] = {"model": run.model, "param_labels": run.param_labels}
    step |= {"depth": run.depth, "accumulate": train.accumulate}
    if train.parallel == "pmap":
        return pmap_programs(devices, **step)
    programs = fsdp_programs if train.shard == "fsdp" else jit_programs
    return programs(make_mesh(devices), **step)


def _placed(
    run: AbstractRun,
    train: TrainConfig,
    devices: Sequence[Device],
    batches: dict[str, Any],
) -> tuple[Any, ...]:
    """Return the arguments of the train program, on their devices."""
    num, count = len(devices), jax.ShapeDtypeStruct((), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    if train.parallel == "pmap":
        state = jax.tree.map(lambda x: shaped(x, (num, *x.shape)), run.state)
        cut = {
            name: shaped(x, (STEPS, num, x.shape[1] // num, *x.shape[2:]))
            for name, x in batches.items()
        }
        return state, cut, count, key
    mesh = make_mesh(devices)
    over = by_example(mesh, axis=1)
    count, key = (shaped(x, (), replicated(mesh)) for x in (count, key))
    cut = {name: shaped(x, x.shape, over) for name, x in batches.items()}
    return _whole_or_cut(run.state, train, devices), cut, count, key


def _placed_batch(
    run: AbstractRun, train: TrainConfig, devices: Sequence[Device], batch: Any
) -> tuple[Any, ...]:
    """Return the arguments of the predict program, on their devices."""
    num, params = len(devices), run.state.params
    if train.parallel == "pmap":
        return jax.tree.map(lambda x: shaped(x, (num, *x.shape)), params), {
            name: shaped(x, (num, x.shape[0] // num, *x.shape[1:]))
            for name, x in batch.items()
        }
    over = by_example(make_mesh(devices), axis=0)
    batch = {name: shaped(x, x.shape, over) for name, x in batch.items()}
    return _whole_or_cut(params, train, devices), batch


def _whole_or_cut(tree: Any, train: TrainConfig, devices: Sequence[Device]) -> Any:
    mesh = make_mesh(devices)

    def place(leaf: Any) -> jax.ShapeDtypeStruct:
        cut = leaf_sharding(mesh, leaf.shape)
        return shaped(
            leaf, leaf.shape, cut if train.shard == "fsdp" else replicated(mesh)
        )

    return jax.tree.map(place, tree)


def _trunk(config: GPT2Config, device: Device, width: int) -> Work:
    """One block over packed texts: all of the trunk's are alike."""
    rows, whole = DEVICE_CALL_TOKENS // width, replicated(make_mesh([device]))
    x = jax.ShapeDtypeStruct((rows, width, config.embed_dim), config.dtype)
    segments = jax.ShapeDtypeStruct((rows, width), jnp.int32)
    given = (param_shapes(config)["h_0"], x, segments)
    programs: Any = block_programs.__wrapped__  # traced anew for each target
    _, block = programs(config)
    arguments = jax.tree.map(lambda x: shaped(x, x.shape, whole), given)
    flops = functools.partial(matmul_flops, block.__wrapped__, *given)
    return Work(block, arguments, f"{rows} x {width}", config.num_layers, flops)


def _predict(config: GPT2Config, device: Device, width: int) -> Work:
    """The blocks above the trunk, as `Classifier` runs them."""
    depth = config.num_layers - (not POOLS[config.pool].reads_all)
    rows, whole = DEVICE_CALL_TOKENS // width, replicated(make_mesh([device]))
    _, top = split_params(param_shapes(config), config.num_layers, depth)
    batch = {
        "features": jax.ShapeDtypeStruct((rows, width, config.embed_dim), config.dtype),
        "lengths": jax.ShapeDtypeStruct((rows,), jnp.int32),
    }
    make: Any = predict_program.__wrapped__
    program = make(config, depth)
    flops = functools.partial(matmul_flops, program.__wrapped__, top, batch)
    arguments = jax.tree.map(lambda x: shaped(x, x.shape, whole), (top, batch))
    return Work(program, arguments, f"{rows} x {width}", depth, flops)
