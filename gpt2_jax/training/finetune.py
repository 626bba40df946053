"""The main job: from a config to a trained classifier and its report."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import optax
from flax.training.train_state import TrainState

from gpt2_jax import distributed
from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.checkpoints.step_folders import check_space
from gpt2_jax.config import DataConfig, FinetuneConfig
from gpt2_jax.data.content import MEMORY
from gpt2_jax.engine.loss import Loss, cross_entropy, loss_identity
from gpt2_jax.engine.optimizer import create_schedule
from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.plan.describe import describe
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.plan.task import Task
from gpt2_jax.storage.home import expanded
from gpt2_jax.training.above import first_state
from gpt2_jax.training.beside import begin_beside, fit_beside
from gpt2_jax.training.build import build_engine, describe_run_devices
from gpt2_jax.training.callbacks import Callback, Observers, RunInfo, check_callbacks
from gpt2_jax.training.collect import collect, write_files
from gpt2_jax.training.loop import train
from gpt2_jax.training.profiling import check_profile
from gpt2_jax.training.results import Results
from gpt2_jax.training.trackers import trackers
from gpt2_jax.workdir.claim import stored_classes, stored_id
from gpt2_jax.workdir.identity import LOSS
from gpt2_jax.workdir.memo import Memo
from gpt2_jax.workdir.run import Run, RunOptions, open_run

log = logging.getLogger(__name__)


def finetune(
    config: FinetuneConfig | None = None,
    workdir: str | Path | None = None,
    *,
    dataset: Any = None,
    callbacks: Sequence[Callback] = (),
    loss: Loss | None = None,
    optimizer: optax.GradientTransformation | None = None,
    verbose: bool = True,
    resume: bool | str = False,
    allow_data_change: bool = False,
    offline: bool = False,
    trunk_cache: str | Path | None = None,
    memo: Memo | None = None,
    figures: bool = True,
    profile: int = 0,
) -> Results:
    """Fine-tune a pretrained GPT-2 into a classifier; return what results.json holds.

    Writes the files of a run into `workdir` (docs/run-folder.md). The order is that of
    the code: load and claim, build, resume, train, evaluate, report.

    Args:
        workdir: a folder, or the URL of a bucket; None: a new folder under
            `checkpoints/`, named after the time.
        dataset: what is trained on, in the place of a file: `(texts, labels)`, a table
            of pandas, polars, pyarrow or datasets, or a dict of columns, whose columns
            `config.data` names as it does those of a file; or a dict of such parts by
            their names, train, validation and test. To resume it is given again.
        callbacks: watch the run, step by step; see `Callback`.
        loss: of logits [B, C] and labels [B], a number for each text [B], in the place
            of cross-entropy; weighed and averaged by the step. A run is resumed with
            the loss that it began with. Evaluations measure cross-entropy.
        optimizer: trains what `config.train.trainable` names, in the place of AdamW
            with its schedule; all else stays frozen, bit for bit.
        verbose: print what is done, where logging is not set up otherwise.
        resume: go on from the newest checkpoint, or start if there is none; a damaged
            one is an error, or with "auto" set aside in words.
        allow_data_change: the data need not be those that the run began with.
        offline: leave the network alone.
        trunk_cache: runs that name the same folder compute the outputs of the same
            frozen trunk once.
        memo: runs of one process that are given the same one read the same texts,
            run the same trunk and compile the same programs once; see `sweep`.
        figures: draw those of the report, and find the words that errors rest on,
            which takes as long as many steps.
        profile: so many steps are traced into `profile/` in the folder of the run, for
            xprof and TensorBoard.

    Raises:
        UserError: something that the user gave cannot be used; see `errors`.
        workdir.signals.Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    check_callbacks(callbacks)
    config = _with_rows(config or FinetuneConfig(), dataset)
    cache = None if trunk_cache is None else expanded(trunk_cache)
    memo = memo or Memo()
    options = RunOptions(
        verbose, resume, allow_data_change, offline, cache, memo, figures, profile
    )
    ours = trackers(config.train)
    with open_run(config, workdir, options) as run, contextlib.ExitStack() as watched:
        with run.phase("load"):
            classes = stored_classes(run.folder) if resume else None
            task = prepare(
                run.config, offline=offline, classes=classes, rows=dataset, memo=memo
            )
            for line in (*describe(task), *describe_run_devices(task)):
                log.info(line)
            run.claim(_identity(task, loss))
            if (found := run.finished(task.num_steps)) is not None:
                steps = task.num_steps
                check_profile(profile, steps, steps)
                log.info("already complete: %d of %d steps", steps, steps)
                return dataclasses.replace(Results.from_json(found), folder=run.place)
            engine = build_engine(task, run, loss or cross_entropy, optimizer)
            begin_beside(task, run)
        trained = engine.params, engine.param_labels
        state = first_state(task, *trained, run, optimizer)
        with run.checkpoints(engine.param_labels) as checkpoints:
            _check_space(checkpoints, state, task)
            with run.phase("evaluate"):
                before = engine.accuracy(engine.params, "test")
            log.info("test accuracy before training: %.2f%%", 100 * before)
            state = _resume(checkpoints, state, task, run)
            observers = Observers(ours, callbacks, **_told(task, optimizer))
            watched.enter_context(observers.watching(_info(task, run, state)))
            with run.phase("train"):
                state = train(state, task, engine, checkpoints, run, observers)
            steps = int(state.step)
            if run.config.train.keep == "best":
                state = _best(checkpoints, state, run)
        with run.phase("evaluate"):
            beside = fit_beside(task, engine.logits_by_part(state.params), run)
            trained, results = collect(task, engine, state, beside, before, steps, run)
        results = write_files(
            task, trained, beside.logits, results, run, schedule=optimizer is None
        )
        observers.results = dataclasses.replace(results, folder=run.place)
    return observers.results


def _identity(task: Task, loss: Loss | None) -> dict[str, Any]:
    """Return what a run may not change when it is resumed, beside its config."""
    if loss is None:
        return task.identity()
    num_classes = len(task.dataset.classes)
    return {**task.identity(), LOSS: loss_identity(loss, num_classes)}


def _told(task: Task, optimizer: optax.GradientTransformation | None) -> dict[str, Any]:
    """Return what observers need to tell learning rate and throughput."""
    train = task.config.train
    schedule = create_schedule(train, task.num_steps) if optimizer is None else None
    return {"batch_size": train.batch_size, "schedule": schedule}


def _info(task: Task, run: Run, state: TrainState) -> RunInfo:
    return RunInfo(
        id=stored_id(run.folder) if distributed.is_first() else "",
        name=run.name,
        folder=run.folder,
        config=run.config,
        first_step=int(state.step),
        num_steps=task.num_steps,
        steps_per_epoch=task.steps_per_epoch,
    )


def _with_rows(config: FinetuneConfig, rows: Any) -> FinetuneConfig:
    """Return the config of a run on `rows`; None: on what it names itself."""
    data = config.data
    if rows is None:
        return config
    if data.source not in (DataConfig().source, MEMORY):
        raise UserError(
            f"dataset=... is given beside the source {data.source}; omit one of them"
        )
    return dataclasses.replace(config, data=dataclasses.replace(data, source=MEMORY))


def _check_space(checkpoints: Checkpoints, state: TrainState, task: Task) -> None:
    """Refuse to begin what the disk cannot hold; see `step_folders.check_space`."""
    step, model = (
        sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        for tree in (checkpoints.tree(state), task.params)
    )
    keep = task.config.train.keep_checkpoints
    distributed.on_first_process(
        lambda: check_space(checkpoints.folder, step, model, keep)
    )


def _resume(
    checkpoints: Checkpoints, state: TrainState, task: Task, run: Run
) -> TrainState:
    """Return the newest saved state, or `state` where there is none.

    Raises:
        UserError: it is past the end already.
        WeightsError: it is damaged, and `resume` is not "auto".
    """
    resume = run.options.resume
    if not resume:
        return state
    state = checkpoints.resume(state, fall_back=resume == "auto")
    step = checkpoints.resumed
    if step is None:
        log.info("no checkpoint to resume from: starting at step 0")
        return state
    if step > task.num_steps:
        raise UserError(
            f"the checkpoint is of step {step}, but these --epochs end at step "
            f"{task.num_steps}; choose more"
        )
    log.info("resumed at step %d of %d", step, task.num_steps)
    if task.depth:
        log.info("the frozen trunk's output is not kept; it was computed again")
    return state


def _best(checkpoints: Checkpoints, state: TrainState, run: Run) -> TrainState:
    """Return the best saved state on validation.

    Raises:
        WeightsError: it is gone or damaged.
    """
    fall_back = run.options.resume == "auto"
    best = checkpoints.restore(state, best=True, fall_back=fall_back)
    if best is None:
        raise WeightsError(f"{checkpoints.folder}: the best step is gone")
    state, meta = best
    log.info("kept the best step on validation: %d", meta["step"])
    return state
