"""What is due after a step: evaluations, the end of an epoch, a save, a stop."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import Any

import numpy as np
from flax.training.train_state import TrainState

from gpt2_jax import distributed
from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.checkpoints.nonfinite import stop_diverged
from gpt2_jax.engine.engine import Engine
from gpt2_jax.plan.task import Task
from gpt2_jax.training.callbacks import Observers
from gpt2_jax.training.pace import Pace
from gpt2_jax.training.profiling import named
from gpt2_jax.training.rehearsal import few_rows
from gpt2_jax.training.selection import is_exhausted, score
from gpt2_jax.workdir.metrics_log import MetricsLog
from gpt2_jax.workdir.run import Run
from gpt2_jax.workdir.signals import Interrupted

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Milestones:
    """Looks at a run between its calls; the states that it is given are placed."""

    task: Task
    engine: Engine
    checkpoints: Checkpoints
    run: Run
    metrics: MetricsLog
    observers: Observers
    pace: Pace
    started: float  # of time.perf_counter

    def is_exhausted(self) -> bool:
        """Return whether `patience` epochs brought nothing better."""
        config = self.task.config.train
        ours = is_exhausted(self.metrics.read(), config, self._num_validation)
        # The first process, which writes the lines, has read all of them.
        return bool(distributed.process_min(-ours)[0])

    def after(self, state: TrainState, step: int, *, saved: bool = False) -> None:
        """Do what is due after `step`; on a signal save in its place, and leave.

        `saved`: the state of `step` is, without what was due.

        Raises:
            Interrupted: a signal came.
            NonFiniteError: a loss is NaN or infinite.
        """
        config = self.task.config.train
        ended = step % self.task.steps_per_epoch == 0
        self.checkpoints.check()
        try:
            self.run.stop.poll()
            if (step - 1) % config.eval_every == 0:
                with named("evaluate"):
                    self._evaluate(state, step)
            if ended or (config.save_every and step % config.save_every == 0):
                rows = self.engine.texts.parts["validation"]
                with named("validate"):
                    logits = self.engine.logits(state.params, rows)
                    scores = self.engine.scores(logits, rows)
                    self._check_score("validation loss", scores["loss"], state, step)
                    values = self._log_epoch(state, step, scores) if ended else {}
                with named("save"):
                    self._save(state, step, scores, saved=saved)
                if ended:
                    labels = self.engine.texts.labels_of(rows)
                    values |= {"validation_logits": logits, "validation_labels": labels}
                    self.observers.epoch(values.pop("epoch"), values)
        except Interrupted:
            # Without a score: the run that nobody stopped has no such candidate.
            if not saved:
                meta = {"step": step, "behind": True}
                self.checkpoints.save(self.engine.steps.unplace(state), meta, None)
            self.checkpoints.finish()
            self.run.stop.leave(step)

    def take_losses(
        self,
        state: TrainState,
        step: int,
        losses: np.ndarray,
        seconds: float,
        each: float,
    ) -> None:
        """Log the losses of the steps after `step`, as far as they are finite.

        Args:
            seconds: that the call with these steps took.
            each: of these for one step, without the compiler's.

        Raises:
            NonFiniteError: they are not.
        """
        finite = np.isfinite(losses)
        good = len(losses) if finite.all() else int(finite.argmin())
        self.metrics.write_losses(step, losses[:good], each)
        if good:
            self.observers.step(step + good, losses[:good], seconds)
        if good < len(losses):
            self._check_score("loss", float(losses[good]), state, step + good + 1)

    def _check_score(
        self, name: str, value: float, state: TrainState, step: int
    ) -> None:
        """End the run if a loss of `step` is NaN or infinite."""
        if not np.isfinite(value):
            self.checkpoints.finish()
            stop_diverged(
                self.run.folder,
                step,
                value,
                self.checkpoints.tree(self.engine.steps.unplace(state)),
                self.checkpoints.newest,
                name=name,
            )

    @property
    def _num_validation(self) -> int:
        return len(self.task.labels("validation"))

    def _evaluate(self, state: TrainState, step: int) -> None:
        scores = {}
        for part in ("train", "validation"):
            loss = self.engine.measure(
                state.params, few_rows(self.task, self.engine.texts, part)
            )["loss"]
            scores[f"{part}_loss"] = loss
        for name, value in scores.items():
            self._check_score(name.replace("_", " "), value, state, step)
        self.metrics.write(
            step=step,
            examples_seen=step * self.task.config.train.batch_size,
            seconds=round(time.perf_counter() - self.started, 3),
            **scores,
            **self.pace.tell(),
        )
        self.observers.evaluation(step, scores)
        log.info(
            "step %d of %d: train loss %.3f, validation loss %.3f",
            step,
            self.task.num_steps,
            scores["train_loss"],
            scores["validation_loss"],
        )

    def _log_epoch(
        self, state: TrainState, step: int, scores: dict[str, float]
    ) -> dict[str, Any]:
        epoch, few = (
            step // self.task.steps_per_epoch,
            few_rows(self.task, self.engine.texts, "train"),
        )
        accuracy = self.engine.measure(state.params, few)["accuracy"]
        values = {"step": step, "epoch": epoch, "train_accuracy": accuracy}
        values |= {f"validation_{name}": value for name, value in scores.items()}
        self.metrics.write(**values, **self.pace.tell())
        log.info(
            "epoch %d: accuracy %.2f%% on %d training texts, %.2f%% on validation",
            epoch,
            100 * accuracy,
            len(few),
            100 * scores["accuracy"],
        )
        return values

    def _save(
        self, state: TrainState, step: int, scores: dict[str, float], *, saved: bool
    ) -> None:
        metric = self.task.config.train.metric
        value = score(scores, metric, self._num_validation)
        meta = {"step": step, "behind": False}
        meta |= {f"validation_{name}": number for name, number in scores.items()}
        if saved:
            self.checkpoints.rescore(step, meta, value)
        else:
            self.checkpoints.save(self.engine.steps.unplace(state), meta, value)
