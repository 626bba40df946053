"""What trains above the frozen trunk: its steps, its programs, its first state."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
import optax
from flax.training.train_state import TrainState

from gpt2_jax.distributed import process_min
from gpt2_jax.engine.devices import Device, local_devices, on_host
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.loss import Loss
from gpt2_jax.engine.mesh import make_mesh
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.outputs import keeps_outputs
from gpt2_jax.engine.pmap import PmapSteps
from gpt2_jax.engine.resident import Programs, ResidentSteps, resident_programs
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.engine.texts import Texts
from gpt2_jax.engine.together import TogetherSteps
from gpt2_jax.engine.wrapper import Steps
from gpt2_jax.model.tree import Params, flatten, split_params
from gpt2_jax.plan.task import Task
from gpt2_jax.workdir.run import Run


@dataclasses.dataclass(frozen=True)
class Above:
    """What trains of a task above a trunk of `depth` blocks, and on which devices."""

    task: Task
    run: Run
    devices: Sequence[Device]
    depth: int
    loss: Loss

    @functools.cached_property
    def params(self) -> Params:
        return self._above(self.task.params)

    @functools.cached_property
    def param_labels(self) -> Params:
        return self._above(self.task.param_labels)

    def _above(self, tree: Params) -> Params:
        return split_params(tree, self.task.model.config.num_layers, self.depth)[1]

    @property
    def key(self) -> tuple[object, ...]:
        """What determines the steps, beside model, devices and texts."""
        train, labels = self.task.config.train, flatten(self.param_labels)
        how = (train.parallel, train.shard, train.accumulate, self.loss)
        return (*labels.items(), *how)

    def are_resident(self, texts: Texts) -> bool:
        """Return whether each device holds all texts, and calls send no batches."""
        train, size = self.task.config.train, texts.values.nbytes
        if size > train.reuse_max_bytes or train.shard != "none":
            return False
        if len(self.devices) == 1 and train.parallel == "jit":
            return True
        # On one that is no accelerator a copy for each would gain nothing.
        fits = all(keeps_outputs(d, size) for d in local_devices(self.devices))
        return bool(*process_min(fits))  # processes must do the same

    def steps(self, texts: Texts) -> Steps:
        """Return the steps over texts."""
        train, resident = self.task.config.train, self.are_resident(texts)
        if resident and train.parallel == "jit":
            return self.resident_steps(texts)
        given = (self.task.model, self.param_labels, texts, self.devices)
        how = {"depth": self.depth, "accumulate": train.accumulate, "loss": self.loss}
        if train.parallel == "pmap":
            return PmapSteps(*given, **how, resident=resident)
        return jit_steps(*given, **how, resident=False, shard=train.shard)

    def resident_steps(self, texts: Texts, *, to_come: bool = False) -> ResidentSteps:
        """Return the steps over texts, or over texts `to_come`; the same programs."""
        return ResidentSteps(texts, self.devices, self._programs(), to_come=to_come)

    def _programs(self) -> Programs:
        """Return what is compiled before the trunk has run, and called after."""
        model, devices = self.task.model, self.devices
        return self.run.options.memo.get(
            "programs",
            (model.config, self.depth, tuple(devices), *self.key),
            lambda: resident_programs(
                make_mesh(devices),
                model=model,
                depth=self.depth,
                param_labels=self.param_labels,
                accumulate=self.task.config.train.accumulate,
                loss=self.loss,
            ),
        )

    def together(self, texts: Texts, size: int) -> TogetherSteps:
        """Return the steps of so many runs at once."""
        return TogetherSteps(
            texts,
            self.devices,
            size,
            model=self.task.model,
            depth=self.depth,
            param_labels=self.param_labels,
            accumulate=self.task.config.train.accumulate,
            loss=self.loss,
        )


def first_state(
    task: Task,
    params: Params,
    param_labels: Params,
    run: Run,
    optimizer: optax.GradientTransformation | None = None,
) -> TrainState:
    """Return step 0, in the memory of the host.

    Its AdamW is of a learning rate of 1, and the updates are multiplied by that of the
    run: with the same optimizer the same steps are compiled once, for all rates.

    Args:
        params, param_labels: of an engine.
        optimizer: in the place of AdamW, its updates as they are; see `finetune`.
    """
    train = dataclasses.replace(task.config.train, seed=0, learning_rate=1.0)
    steps = task.num_steps
    tx = run.options.memo.get(
        "optimizer",
        (train, tuple(flatten(param_labels).items()), steps, optimizer),
        lambda: create_optimizer(train, param_labels, steps, optimizer),
    )
    rate = task.config.train.learning_rate if optimizer is None else None
    with on_host():  # what is cut over the devices may fit none of them
        state = create_train_state(task.model, params, tx, rate)
    return jax.tree.map(np.asarray, state)
