"""From a task to an engine: devices, the frozen trunk, the compiled steps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

import jax
import optax

from gpt2_jax.engine.devices import (
    Device,
    check_deterministic,
    choose_devices,
    describe_devices,
    local_devices,
)
from gpt2_jax.engine.engine import Engine
from gpt2_jax.engine.forward import packed_end
from gpt2_jax.engine.loss import Loss, cross_entropy
from gpt2_jax.engine.texts import LEARNED, READ, Texts
from gpt2_jax.engine.together import TogetherSteps
from gpt2_jax.engine.trunk import outputs_to_come
from gpt2_jax.engine.trunk_cache import reuse_trunk, reuses_trunk
from gpt2_jax.engine.widths import epoch_rows
from gpt2_jax.model.pools import POOLS
from gpt2_jax.plan.task import Task
from gpt2_jax.training.above import Above, first_state
from gpt2_jax.training.rehearsal import compiling_beside
from gpt2_jax.workdir.identity import PRETRAINED
from gpt2_jax.workdir.run import Run


def build_engine(
    task: Task,
    run: Run,
    loss: Loss = cross_entropy,
    optimizer: optax.GradientTransformation | None = None,
) -> Engine:
    """Run the frozen trunk once over the texts where it can be, and wrap the steps.

    Then the params of the trunk stay behind. What a run before has made of the same
    trunk and texts is taken from the memo of `run`.

    Args:
        loss, optimizer: see `finetune`.

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
    above = Above(task, run, devices, task.depth, loss)
    with run.phase("trunk"):
        outputs = memo.get("trunk", key, lambda: _run_trunk(above, texts, optimizer))
    if outputs is None:
        above, features = dataclasses.replace(above, depth=0), texts
    else:
        features = outputs.learned_as(texts)
    resident = features.values.nbytes <= train.reuse_max_bytes
    if not resident:  # calls are sent batches, which are padded
        features = dataclasses.replace(features, packs=())
    key = (*key, features.fingerprint(*LEARNED), *above.key)
    steps = memo.get(
        "compiled steps", (*key, features.packs), lambda: above.steps(features)
    )
    one = (train.parallel, train.shard) == ("jit", "none")
    if above.depth > 0 and resident and one:

        def together(size: int) -> TogetherSteps:
            return memo.get(
                "steps together", (*key, size), lambda: above.together(features, size)
            )

        steps = memo.join(steps, together)
    trained = above.params, above.param_labels
    return Engine(*trained, features, steps, run.stop.poll, above.depth > 0)


def _run_trunk(
    above: Above, texts: Texts, optimizer: optax.GradientTransformation | None
) -> Texts | None:
    """Run the trunk below, if it need not run in every step."""
    task, run, devices = above.task, above.run, above.devices
    train = task.config.train
    one = (train.parallel, train.shard) == ("jit", "none") and len(devices) == 1
    with _compiling_beside(above, texts, optimizer):
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
            resident=one,
        )


def _compiling_beside(
    above: Above, texts: Texts, optimizer: optax.GradientTransformation | None
) -> contextlib.AbstractContextManager[None]:
    """Compile, while the trunk runs, the steps that will read its outputs."""
    task, run = above.task, above.run
    nothing = contextlib.nullcontext()
    # Runs that train together take their steps by another program, and processes must
    # compile the same.
    if run.options.memo.stop or jax.process_count() > 1:
        return nothing
    if not reuses_trunk(task.config.train, task.depth):
        return nothing
    outputs = outputs_to_come(task.model.config, texts, task.depth)
    if task.config.train.parallel != "jit" or not above.are_resident(outputs):
        return nothing
    steps = above.resident_steps(outputs, to_come=True)
    trained = above.params, above.param_labels
    return compiling_beside(
        task, run, outputs, steps, lambda: first_state(task, *trained, run, optimizer)
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


def describe_run_devices(task: Task) -> list[str]:
    """Return, line by line, what the run trains on.

    Raises:
        DeviceError: it is not there.
    """
    train = task.config.train
    return describe_devices(choose_devices(train.devices), train)
