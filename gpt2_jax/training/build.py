"""From a task to an engine: devices, the frozen trunk, the compiled steps."""

from __future__ import annotations

import logging

import jax
import numpy as np
import optax
from flax.training.train_state import TrainState

from gpt2_jax.engine.devices import (
    check_deterministic,
    choose_devices,
    describe_devices,
    local_devices,
    on_host,
)
from gpt2_jax.engine.engine import Engine
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.loss import Loss, cross_entropy
from gpt2_jax.engine.pmap import PmapSteps
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.engine.trunk_cache import reuse_trunk
from gpt2_jax.engine.widths import epoch_rows
from gpt2_jax.model.tree import split_params
from gpt2_jax.plan.task import Task
from gpt2_jax.workdir.run import Run

log = logging.getLogger(__name__)


def build_engine(task: Task, run: Run, loss: Loss = cross_entropy) -> Engine:
    """Run the frozen trunk once over the texts where it can be, and wrap the steps.

    Then the params of the trunk stay behind.

    Raises:
        DeviceError: the devices asked for are not there.
        Interrupted: a signal came.
    """
    train, depth = task.config.train, task.depth
    devices = choose_devices(train.devices)
    if train.deterministic:
        check_deterministic(devices[0])
    texts = task.texts.narrow(
        task.texts.parts["train"][
            epoch_rows(
                len(task.texts.parts["train"]), train.batch_size, train.seed, epoch=0
            )
        ]
    )
    with run.phase("trunk"):
        features = reuse_trunk(
            task.model,
            task.params,
            texts,
            train,
            depth,
            run.folder,
            devices=local_devices(devices),
            poll=run.stop.poll,
            cache=run.options.trunk_cache,
        )
    if features is None:
        features, depth = texts, 0
    num_layers = task.model.config.num_layers
    _, params = split_params(task.params, num_layers, depth)
    _, param_labels = split_params(task.param_labels, num_layers, depth)
    if train.parallel == "pmap":
        steps = PmapSteps(
            task.model,
            param_labels,
            features,
            devices,
            depth=depth,
            accumulate=train.accumulate,
            loss=loss,
        )
    else:
        steps = jit_steps(
            task.model,
            param_labels,
            features,
            devices,
            depth=depth,
            shard=train.shard,
            accumulate=train.accumulate,
            loss=loss,
            resident=features.values.nbytes <= train.reuse_max_bytes,
        )
    return Engine(params, param_labels, features, steps, run.stop.poll, depth > 0)


def describe_run_devices(task: Task) -> list[str]:
    """Return, line by line, what the run trains on.

    Raises:
        DeviceError: it is not there.
    """
    train = task.config.train
    return describe_devices(choose_devices(train.devices), train)


def first_state(
    task: Task, engine: Engine, tx: optax.GradientTransformation
) -> TrainState:
    """Return step 0, in the memory of the host."""
    with on_host():  # what is cut over the devices may fit none of them
        state = create_train_state(task.model, engine.params, tx)
    return jax.tree.map(np.asarray, state)
