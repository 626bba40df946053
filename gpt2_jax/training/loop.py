"""The training loop: which steps a call takes, and what follows it."""

from __future__ import annotations

import logging
import time

import jax
import numpy as np
from flax.training.train_state import TrainState

from gpt2_jax import distributed
from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.config import TrainConfig
from gpt2_jax.engine.engine import Engine
from gpt2_jax.engine.texts import MAX_STEPS
from gpt2_jax.engine.widths import epoch_rows
from gpt2_jax.plan.task import Task
from gpt2_jax.progress import bar
from gpt2_jax.training.callbacks import Observers
from gpt2_jax.training.milestones import Milestones
from gpt2_jax.training.pace import Pace
from gpt2_jax.training.profiling import Profile, check_profile
from gpt2_jax.workdir.claim import stored_start
from gpt2_jax.workdir.metrics_log import MetricsLog
from gpt2_jax.workdir.run import Run

log = logging.getLogger(__name__)


# What one call may take: long enough to cost nothing, short enough to be stopped.
CALL_SECONDS = 0.5


def train(
    state: TrainState,
    task: Task,
    engine: Engine,
    checkpoints: Checkpoints,
    run: Run,
    observers: Observers,
) -> TrainState:
    """Take every step that `state` has not taken; return the state on the host.

    Where `checkpoints` resumed a state whose step was saved in haste, what was due
    after it is done first.

    Raises:
        Interrupted: a signal came; the state is saved.
        NonFiniteError: the loss, or what trains, is NaN or infinite.
        UserError: no step is left to profile.
    """
    metrics = MetricsLog(run.folder / "metrics.jsonl", writes=distributed.is_first())
    first = int(state.step)
    check_profile(run.options.profile, first, task.num_steps)
    metrics.truncate(first, behind=checkpoints.behind)
    began = stored_start(run.folder) if distributed.is_first() else None
    pace = Pace(task, engine, metrics.read(), began)
    started = time.perf_counter()
    due = Milestones(task, engine, checkpoints, run, metrics, observers, pace, started)
    profile = Profile(run.folder, run.options.profile)
    with profile.ending():
        placed = engine.steps.place(state)
        state = _take_all_steps(placed, first, task, engine, due, profile)
    checkpoints.finish()
    run.wait_for_saves()
    return engine.steps.unplace(state)


def _take_all_steps(
    state: TrainState,
    step: int,
    task: Task,
    engine: Engine,
    due: Milestones,
    profile: Profile,
) -> TrainState:
    """Take the steps after `step`, on placed states."""
    config, stop, clock = task.config.train, due.run.stop, due.run.clock
    memo = due.run.options.memo
    trained, per_epoch = engine.texts.parts["train"], task.steps_per_epoch
    key, limit = jax.random.key(config.seed), 1
    stop.poll()
    with bar(task.num_steps, "training", "steps", done=step) as shown:
        if due.checkpoints.behind:
            due.after(state, step, saved=True)
        for epoch in range(step // per_epoch, config.epochs):
            if due.is_exhausted():
                log.info("no better epoch in the last %d: stopped", config.patience)
                break
            rows = trained[
                epoch_rows(len(trained), config.batch_size, config.seed, epoch)
            ]
            while step < (epoch + 1) * per_epoch:
                done = step - epoch * per_epoch
                most = profile.limit(limit)
                call, width = next_call(engine, config, rows[done:], step, most)
                compiled, called = clock.compiling_seconds, time.perf_counter()
                waited = memo.waited
                with profile.step(step + len(call)):
                    state, losses = engine.steps.train(state, call, key, width)
                seconds = time.perf_counter() - called - (memo.waited - waited)
                compiled = clock.compiling_seconds - compiled
                call = call[: len(losses)]  # where others train along, not the whole
                each = due.pace.take(call, width, seconds, compiled)
                due.take_losses(state, step, losses, seconds, each)
                if seconds < CALL_SECONDS / 2:
                    limit = min(2 * limit, MAX_STEPS)
                step += len(losses)
                shown.update(len(losses))
                limit = stop.meet(limit)
                due.after(state, step)
                profile.after(len(losses))
    return state


def next_call(
    engine: Engine, config: TrainConfig, rows: np.ndarray, step: int, limit: int
) -> tuple[np.ndarray, int]:
    """Return the first of `rows` [S, B] that one call takes, and their width.

    A call ends where something is due. The width of a step is that of its own texts,
    wherever calls begin and end: a resumed run pads as the whole one did.
    """
    limit = min(limit, config.eval_every - (step - 1) % config.eval_every)
    if config.save_every:
        limit = min(limit, config.save_every - step % config.save_every)
    texts = engine.texts
    width, count = texts.width(rows[0]), 1
    limit = min(limit, engine.steps.most_steps(config.batch_size, width))
    while count < min(limit, len(rows)) and texts.width(rows[count]) == width:
        count += 1
    return rows[:count], width
