"""The programs of a run, compiled into the cache before the run begins."""

from __future__ import annotations

import dataclasses
import logging
import tempfile

import jax
import numpy as np

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.engine.engine import Engine
from gpt2_jax.engine.packing import Pack
from gpt2_jax.engine.widths import epoch_rows
from gpt2_jax.plan.describe import describe
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.plan.task import Task
from gpt2_jax.training.build import (
    build_engine,
    describe_run_devices,
    first_state,
)
from gpt2_jax.training.collect import learning_rates
from gpt2_jax.training.milestones import few_rows
from gpt2_jax.workdir.run import RunOptions, open_run

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Programs that were found in the cache, and that were compiled and put there."""

    hits: int
    misses: int
    seconds: float


def compile_only(
    config: FinetuneConfig, *, verbose: bool = True, offline: bool = False
) -> Compiled:
    """Do once all that a run of `config` does on its devices; keep the programs alone.

    The texts decide the shapes of the batches, and these what is compiled; of each, one
    step is taken. What explains the errors in the report is left out: nobody knows yet
    which texts these are.

    Raises:
        UserError: the run could not begin; see `errors`.
        workdir.signals.Interrupted: SIGINT or SIGTERM came.
    """
    options = RunOptions(verbose, offline=offline)
    with (
        tempfile.TemporaryDirectory(prefix="gpt2-jax-") as folder,
        open_run(config, folder, options) as run,
    ):
        with run.phase("load"):
            task = prepare(run.config, offline=offline)
            for line in (*describe(task), *describe_run_devices(task)):
                log.info(line)
            run.claim(task.identity())
            engine = build_engine(task, run)
        state = first_state(task, engine, run)
        engine.accuracy(engine.params, "test")
        state = engine.steps.place(state)
        key = jax.random.key(config.train.seed)
        for rows, width in _one_of_each_width(task, engine):
            run.stop.poll()
            state, _ = engine.steps.train(state, rows, key, width)
        for part in ("train", "validation"):
            engine.measure(state.params, few_rows(task, engine, part))
        engine.logits(state.params, engine.texts.parts["validation"])
        state = engine.steps.unplace(state)
        with run.checkpoints(engine.param_labels) as checkpoints:
            meta = {"step": int(state.step), "behind": True}
            checkpoints.save(state, meta, None)  # what it copies is compiled too
            checkpoints.finish()
        engine.logits_by_part(state.params)
        task.trained_model(state.params, temperature=1.0)
        learning_rates(task, task.num_steps)
        return Compiled(**run.clock.cache, seconds=run.clock.seconds["total"])


def _one_of_each_width(task: Task, engine: Engine) -> list[tuple[np.ndarray, int]]:
    """Return a batch [1, B] of each shape that the batches of all epochs have."""
    train, trained = task.config.train, engine.texts.parts["train"]
    found: dict[tuple[int, Pack | None], np.ndarray] = {}
    texts = engine.texts
    for epoch in range(train.epochs):
        for rows in trained[
            epoch_rows(len(trained), train.batch_size, train.seed, epoch)
        ]:
            shape = (texts.width(rows), texts.pack(rows))
            found.setdefault(shape, rows[None])
    return [(rows, width) for (width, _), rows in found.items()]
