"""The programs of a run, compiled into the cache before the run begins."""

from __future__ import annotations

import dataclasses
import logging
import tempfile

import jax

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.plan.describe import describe
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.training.above import first_state
from gpt2_jax.training.build import build_engine, describe_run_devices
from gpt2_jax.training.collect import learning_rates
from gpt2_jax.training.rehearsal import batches_scored, batches_to_train
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
        steps, texts = engine.steps, engine.texts
        state = steps.place(first_state(task, engine.params, engine.param_labels, run))
        key = jax.random.key(config.train.seed)
        for rows, width in batches_to_train(task, texts, config.train.epochs):
            run.stop.poll()
            state, _ = steps.train(state, rows, key, width)
        params = steps.place(engine.params)  # under pmap programs too
        for rows, width in batches_scored(task, texts, steps.num_devices):
            run.stop.poll()
            jax.block_until_ready(steps.predict(params, rows, width))
        state = steps.unplace(state)
        with run.checkpoints(engine.param_labels) as checkpoints:
            meta = {"step": int(state.step), "behind": True}
            checkpoints.save(state, meta, None)  # what it copies is compiled too
            checkpoints.finish()
        task.trained_model(state.params, temperature=1.0)
        learning_rates(task, task.num_steps)
        return Compiled(**run.clock.cache, seconds=run.clock.seconds["total"])
