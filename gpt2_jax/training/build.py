"""From a task to an engine: devices, the frozen trunk, the compiled steps."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import jax
import numpy as np
import optax
from flax.training.train_state import TrainState

from gpt2_jax.config import TrainConfig
from gpt2_jax.distributed import process_min
from gpt2_jax.engine.devices import (
    Device,
    check_deterministic,
    choose_devices,
    describe_devices,
    local_devices,
    on_host,
)
from gpt2_jax.engine.engine import Engine
from gpt2_jax.engine.forward import packed_end
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.loss import Loss, cross_entropy
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.outputs import keeps_outputs
from gpt2_jax.engine.pmap import PmapSteps
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.engine.texts import LEARNED, READ, Texts
from gpt2_jax.engine.together import TogetherSteps
from gpt2_jax.engine.trunk_cache import reuse_trunk
from gpt2_jax.engine.widths import epoch_rows
from gpt2_jax.engine.wrapper import Steps
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.tree import Params, flatten, split_params
from gpt2_jax.plan.task import Task
from gpt2_jax.workdir.identity import PRETRAINED
from gpt2_jax.workdir.run import Run

log = logging.getLogger(__name__)


def build_engine(task: Task, run: Run, loss: Loss = cross_entropy) -> Engine:
    """Run the frozen trunk once over the texts where it can be, and wrap the steps.

    Then the params of the trunk stay behind. What a run before has made of the same
    trunk and texts is taken from the memo of `run`.

    Raises:
        DeviceError: the devices asked for are not there.
        Interrupted: a signal came.
    """
    train, memo = task.config.train, run.options.memo
    devices = choose_devices(train.devices)
    if train.deterministic:
        check_deterministic(devices[0])
    trained = task.texts.parts["train"]
    # One order for all seeds: runs that differ in theirs have the same programs.
    batches = trained[epoch_rows(len(trained), train.batch_size, seed=0, epoch=0)]
    texts = task.texts.narrow(batches, task.num_steps * packs_steps(task, devices))
    read = (run.identity[PRETRAINED], task.model.config, texts.fingerprint(*READ))
    kept = (train.reuse_trunk, train.reuse_max_bytes, train.reuse_max_disk_bytes)
    key = (*read, tuple(devices), task.depth, texts.widths, *kept)
    with run.phase("trunk"):
        outputs = memo.get("trunk", key, lambda: _run_trunk(task, run, texts, devices))
    features, depth = texts, 0
    if outputs is not None:
        features, depth = outputs.learned_as(texts), task.depth
    resident = features.values.nbytes <= train.reuse_max_bytes
    if not resident:  # calls are sent batches, which are padded
        features = dataclasses.replace(features, packs=())
    num_layers = task.model.config.num_layers
    _, params = split_params(task.params, num_layers, depth)
    _, param_labels = split_params(task.param_labels, num_layers, depth)
    trains = tuple(flatten(param_labels).items())
    how = (train.parallel, train.shard, train.accumulate, loss)
    steps = memo.get(
        "compiled steps",
        (*key, features.packs, features.fingerprint(*LEARNED), trains, how),
        lambda: _compile_steps(task, features, devices, depth, param_labels, loss),
    )
    if depth > 0 and resident and (train.parallel, train.shard) == ("jit", "none"):

        def together(size: int) -> TogetherSteps:
            return memo.get(
                "steps together",
                (*key, features.fingerprint(*LEARNED), trains, how, size),
                lambda: _compile_together(
                    task, features, devices, depth, param_labels, loss, size
                ),
            )

        steps = memo.join(steps, together)
    return Engine(params, param_labels, features, steps, run.stop.poll, depth > 0)


def _run_trunk(
    task: Task, run: Run, texts: Texts, devices: Sequence[Device]
) -> Texts | None:
    train = task.config.train
    return reuse_trunk(
        task.model,
        task.params,
        texts,
        train,
        task.depth,
        run.folder,
        devices=local_devices(devices),
        poll=run.stop.poll,
        cache=run.options.trunk_cache,
        resident=(train.parallel, train.shard) == ("jit", "none") and len(devices) == 1,
    )


def packs_steps(task: Task, devices: Sequence[Device]) -> bool:
    """Return whether the texts of a step lie packed, and no padding is computed.

    That takes more programs: a CPU, which arithmetic binds, compiles them soon.
    """
    train, config = task.config.train, task.model.config
    return (
        devices[0].platform == "cpu"
        and len(devices) == train.accumulate == 1
        and (train.parallel, train.shard) == ("jit", "none")
        and task.depth < packed_end(config)
        and not POOLS[config.pool].reads_padding
        and not config.dropout_rate  # what a text drops is drawn for it alone
    )


def _compile_steps(
    task: Task,
    features: Texts,
    devices: Sequence[Device],
    depth: int,
    param_labels: Params,
    loss: Loss,
) -> Steps:
    train = task.config.train
    given = (task.model, param_labels, features, devices)
    how = {"depth": depth, "accumulate": train.accumulate, "loss": loss}
    resident = _are_resident(features, train, devices)
    if train.parallel == "pmap":
        return PmapSteps(*given, **how, resident=resident)
    return jit_steps(*given, **how, resident=resident, shard=train.shard)


def _are_resident(
    features: Texts, train: TrainConfig, devices: Sequence[Device]
) -> bool:
    """Return whether each device holds all texts, and calls send no batches."""
    size = features.values.nbytes
    if size > train.reuse_max_bytes or train.shard != "none":
        return False
    if len(devices) == 1 and train.parallel == "jit":
        return True
    # On one that is no accelerator a copy for each would gain nothing.
    fits = all(keeps_outputs(device, size) for device in local_devices(devices))
    return bool(*process_min(fits))  # processes must do the same


def _compile_together(
    task: Task,
    features: Texts,
    devices: Sequence[Device],
    depth: int,
    param_labels: Params,
    loss: Loss,
    size: int,
) -> TogetherSteps:
    train = task.config.train
    return TogetherSteps(
        features,
        devices,
        size,
        model=task.model,
        depth=depth,
        param_labels=param_labels,
        accumulate=train.accumulate,
        loss=loss,
    )


def describe_run_devices(task: Task) -> list[str]:
    """Return, line by line, what the run trains on.

    Raises:
        DeviceError: it is not there.
    """
    train = task.config.train
    return describe_devices(choose_devices(train.devices), train)


def first_state(
    task: Task,
    engine: Engine,
    run: Run,
    optimizer: optax.GradientTransformation | None = None,
) -> TrainState:
    """Return step 0, in the memory of the host.

    Its AdamW is of a learning rate of 1, and the updates are multiplied by that of the
    run: with the same optimizer the same steps are compiled once, for all rates.

    Args:
        optimizer: in the place of AdamW, its updates as they are; see `finetune`.
    """
    train = dataclasses.replace(task.config.train, seed=0, learning_rate=1.0)
    labels, steps = engine.param_labels, task.num_steps
    tx = run.options.memo.get(
        "optimizer",
        (train, tuple(flatten(labels).items()), steps, optimizer),
        lambda: create_optimizer(train, labels, steps, optimizer),
    )
    rate = task.config.train.learning_rate if optimizer is None else None
    with on_host():  # what is cut over the devices may fit none of them
        state = create_train_state(task.model, engine.params, tx, rate)
    return jax.tree.map(np.asarray, state)
