"""The training loop of a language model: every step, and what is due after it."""

from __future__ import annotations

import dataclasses
import logging
import time

import numpy as np
from flax.training.train_state import TrainState

from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.checkpoints.nonfinite import stop_diverged
from gpt2_jax.engine.language_model import Programs
from gpt2_jax.engine.sequences import Sequences, step_sequences
from gpt2_jax.model.tree import Params
from gpt2_jax.workdir.metrics_log import MetricsLog
from gpt2_jax.workdir.signals import StopSignals

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Course:
    """How many steps on what, and how often it is told, measured and saved."""

    train: Sequences
    held_out: Sequences
    steps: int
    batch_size: int  # sequences of a step
    measured: int  # of the held-out sequences, the first
    measured_at_once: int
    seed: int  # of their order
    log_every: int
    validate_every: int
    save_every: int


def train_language_model(
    state: TrainState,
    course: Course,
    programs: Programs,
    checkpoints: Checkpoints,
    stop: StopSignals,
) -> TrainState:
    """Take every step that the placed `state` has not taken; return the last state.

    Lines go to metrics.jsonl beside the checkpoints. A step that is measured and saved
    has minus its loss on the held-out sequences as score.

    Raises:
        Interrupted: a signal came; the state is saved.
        NonFiniteError: the loss, or what trains, is NaN or infinite.
    """
    metrics = MetricsLog(checkpoints.folder.parent / "metrics.jsonl")
    first = int(state.step)
    metrics.truncate(first, behind=False)
    clock, timed = time.perf_counter(), first
    for step in range(first + 1, course.steps + 1):
        rows = step_sequences(
            len(course.train), course.batch_size, step - 1, course.seed
        )
        tokens = programs.cut(course.train.batch(rows))
        state, loss = programs.train(state, tokens)
        last, values, score = step == course.steps, {}, None
        if step % course.log_every == 0 or last or step == 1:
            values["loss"] = float(loss)  # waits for the step
            passed, done = time.perf_counter() - clock, step - timed
            if timed > first:  # the first step is compiled in its time
                each = course.batch_size * course.train.length
                values["tokens_per_second"] = round(done * each / passed)
        if step % course.validate_every == 0 or last:
            found = held_out_loss(state.params, course, programs)
            values["validation_loss"], score = found, -found
        _refuse_nonfinite(step, values, state, checkpoints)
        if values:
            metrics.write(step=step, **values)
            log.info("step %d of %d: %s", step, course.steps, _told(values))
        saved = step % course.save_every == 0 or last
        if saved:
            checkpoints.save(state, {}, score)
        if stop.requested is not None and not last:
            if not saved:
                checkpoints.save(state, {}, None)
            checkpoints.finish()
            stop.leave(step)
        if values:
            clock, timed = time.perf_counter(), step
    checkpoints.finish()
    return state


def held_out_loss(params: Params, course: Course, programs: Programs) -> float:
    """Return the mean loss of a token of the held-out sequences, in nats."""
    count = min(course.measured, len(course.held_out))
    size, losses = course.measured_at_once, []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)  # one shape
        batch = programs.cut(course.held_out.batch(rows))
        losses.append(np.asarray(programs.losses(params, batch))[: count - start])
    return float(np.concatenate(losses).mean())


def _refuse_nonfinite(
    step: int, values: dict[str, float], state: TrainState, checkpoints: Checkpoints
) -> None:
    for name, value in values.items():
        if not np.isfinite(value):
            checkpoints.finish()
            stop_diverged(
                checkpoints.folder.parent,
                step,
                value,
                checkpoints.tree(state),
                checkpoints.newest,
                name=name.replace("_", " "),
            )


def _told(values: dict[str, float]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} "
        + (f"{value:.4f}" if isinstance(value, float) else f"{value:,}")
        for name, value in values.items()
    )
