"""The training loop proper: steps, evaluations on the way, checkpoints."""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from flax.training.train_state import TrainState
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from gpt2_jax import distributed
from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.checkpoints.nonfinite import stop_diverged
from gpt2_jax.engine.engine import Scorer
from gpt2_jax.engine.texts import MAX_STEPS
from gpt2_jax.engine.widths import epoch_rows
from gpt2_jax.plan.prepare import Prepared
from gpt2_jax.training.selection import is_exhausted, score
from gpt2_jax.workdir import metrics_log
from gpt2_jax.workdir.signals import Interrupted, StopSignals
from gpt2_jax.workdir.writers import Writer

log = logging.getLogger(__name__)


# What one call may take: long enough to cost nothing, short enough to be stopped.
CALL_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Trainer:
    """What a run of steps needs beside its state."""

    prepared: Prepared
    scorer: Scorer
    checkpoints: Checkpoints
    workdir: Path
    stop: StopSignals
    writers: Sequence[Writer] = ()

    def run(self, state: TrainState, *, behind: bool = False) -> TrainState:
        """Take every step that `state` has not taken; return the state on the host.

        `behind`: what was due after its last step has not been done.

        Raises:
            Interrupted: a signal came; the state is saved.
            NonFiniteError: the loss, or what trains, is NaN or infinite.
        """
        config, steps = self.prepared.config.train, self.scorer.steps
        num_rows = len(self._rows("train"))
        per_epoch = num_rows // config.batch_size
        step, total = int(state.step), config.epochs * per_epoch
        metrics = metrics_log.MetricsLog(
            self.workdir / "metrics.jsonl",
            self.writers,
            writes=distributed.is_first(),
        )
        metrics.truncate(step, behind=behind)
        key = jax.random.key(config.seed)
        started = time.perf_counter()
        state, limit = steps.place(state), 1
        self.stop.poll()
        with _progress(total, step) as bar, logging_redirect_tqdm([log.parent or log]):
            if behind:
                self._after(metrics, state, step, started, saved=True)
            for epoch in range(step // per_epoch, config.epochs):
                if self._is_exhausted(metrics):
                    log.info("no better epoch in the last %d: stopped", config.patience)
                    break
                rows = epoch_rows(num_rows, config.batch_size, config.seed, epoch)
                while step < (epoch + 1) * per_epoch:
                    done = step - epoch * per_epoch
                    call, width = self._next_call(rows[done:], step, limit)
                    called = time.perf_counter()
                    state, losses = self._train(state, call, width, key)
                    self._check_losses(metrics, state, step, losses)
                    if time.perf_counter() - called < CALL_SECONDS / 2:
                        limit = min(2 * limit, MAX_STEPS)
                    step += len(call)
                    bar.update(len(call))
                    limit = self.stop.meet(limit)
                    self._after(metrics, state, step, started)
        return steps.unplace(state)

    def _is_exhausted(self, metrics: metrics_log.MetricsLog) -> bool:
        config, count = self.prepared.config.train, len(self._rows("validation"))
        # The first process, which writes the lines, has read all of them.
        return bool(
            distributed.process_min(-is_exhausted(metrics.read(), config, count))[0]
        )

    def _after(
        self,
        metrics: metrics_log.MetricsLog,
        state: TrainState,
        step: int,
        started: float,
        *,
        saved: bool = False,
    ) -> None:
        """Do what is due after `step`; on a signal save in its place, and leave.

        `saved`: the state of `step` is, without what was due.

        Raises:
            Interrupted: a signal came.
        """
        config = self.prepared.config.train
        per_epoch = len(self._rows("train")) // config.batch_size
        ended = step % per_epoch == 0
        self.checkpoints.check()
        try:
            self.stop.poll()
            if (step - 1) % config.eval_every == 0:
                seconds = time.perf_counter() - started
                total = config.epochs * per_epoch
                self._log_evaluation(metrics, state, step, total, seconds)
            if ended or (config.save_every and step % config.save_every == 0):
                scores = self.scorer.measure(state.params, self._rows("validation"))
                self._check_score("validation loss", scores["loss"], state, step)
                if ended:
                    self._log_epoch(metrics, state, step, step // per_epoch, scores)
                self._save(state, step, scores, saved=saved)
        except Interrupted:
            # Without a score: the run that nobody stopped has no such candidate.
            if not saved:
                meta = {"step": step, "behind": True}
                self.checkpoints.save(self.scorer.steps.unplace(state), meta, None)
            self.checkpoints.finish()
            self.stop.leave(step)

    def _check_losses(
        self,
        metrics: metrics_log.MetricsLog,
        state: TrainState,
        step: int,
        losses: np.ndarray,
    ) -> None:
        """Log the losses of the steps after `step`, as far as they are finite.

        Raises:
            NonFiniteError: they are not.
        """
        finite = np.isfinite(losses)
        good = len(losses) if finite.all() else int(finite.argmin())
        metrics.write_losses(step, losses[:good])
        if good < len(losses):
            self._check_score("loss", float(losses[good]), state, step + good + 1)

    def _check_score(
        self, name: str, value: float, state: TrainState, step: int
    ) -> None:
        """End the run if a loss of `step` is NaN or infinite.

        Raises:
            NonFiniteError: it is.
        """
        if not np.isfinite(value):
            self.checkpoints.finish()
            stop_diverged(
                self.workdir,
                step,
                value,
                self.checkpoints.tree(self.scorer.steps.unplace(state)),
                self.checkpoints.newest,
                name=name,
            )

    def _next_call(
        self, rows: np.ndarray, step: int, limit: int
    ) -> tuple[np.ndarray, int]:
        """Return the first of `rows` [S, B] that one call takes, and their width.

        A call ends where something is due. The width of a step is that of its own
        texts, wherever calls begin and end: a resumed run pads as the whole one did.
        """
        config, inputs = self.prepared.config.train, self.scorer.inputs
        limit = min(limit, config.eval_every - (step - 1) % config.eval_every)
        if config.save_every:
            limit = min(limit, config.save_every - step % config.save_every)
        width, count = inputs.width(rows[0]), 1
        limit = min(limit, self._most_steps(width))
        while count < min(limit, len(rows)) and inputs.width(rows[count]) == width:
            count += 1
        return rows[:count], width

    def _train(
        self, state: TrainState, rows: np.ndarray, width: int, key: jax.Array
    ) -> tuple[TrainState, np.ndarray]:
        return self.scorer.steps.train(state, self.scorer.data, rows, key, width)

    def _most_steps(self, width: int) -> int:
        """Return how many steps a call can take."""
        if self.scorer.data is not self.scorer.inputs:  # all of it is on the device
            return MAX_STEPS
        batch_size = self.prepared.config.train.batch_size
        return self.scorer.inputs.most_steps(batch_size, width)

    def _rows(self, part: str) -> np.ndarray:
        return self.scorer.inputs.parts[part]

    def _few(self, part: str) -> np.ndarray:
        """Return the rows that evaluations on the way look at, as the book does."""
        config = self.prepared.config.train
        return self._rows(part)[: config.eval_batches * config.batch_size]

    def _log_evaluation(
        self,
        metrics: metrics_log.MetricsLog,
        state: TrainState,
        step: int,
        total: int,
        seconds: float,
    ) -> None:
        scores = {
            f"{part}_loss": self.scorer.scores(state.params, self._few(part))[0]
            for part in ("train", "validation")
        }
        for name, value in scores.items():
            self._check_score(name.replace("_", " "), value, state, step)
        batch_size = self.prepared.config.train.batch_size
        metrics.write(
            step=step,
            examples_seen=step * batch_size,
            seconds=round(seconds, 3),
            **scores,
        )
        log.info(
            "step %d of %d: train loss %.3f, validation loss %.3f",
            step,
            total,
            scores["train_loss"],
            scores["validation_loss"],
        )

    def _log_epoch(
        self,
        metrics: metrics_log.MetricsLog,
        state: TrainState,
        step: int,
        epoch: int,
        scores: dict[str, float],
    ) -> None:
        _, train = self.scorer.scores(state.params, self._few("train"))
        metrics.write(
            step=step,
            epoch=epoch,
            train_accuracy=train,
            **{f"validation_{name}": value for name, value in scores.items()},
        )
        log.info(
            "epoch %d: accuracy %.2f%% on %d training texts, %.2f%% on validation",
            epoch,
            100 * train,
            len(self._few("train")),
            100 * scores["accuracy"],
        )

    def _save(
        self, state: TrainState, step: int, scores: dict[str, float], *, saved: bool
    ) -> None:
        metric, count = self.prepared.config.train.metric, len(self._rows("validation"))
        meta = {"step": step, "behind": False}
        meta |= {f"validation_{name}": value for name, value in scores.items()}
        if saved:
            self.checkpoints.rescore(step, meta, score(scores, metric, count))
        else:
            state = self.scorer.steps.unplace(state)
            self.checkpoints.save(state, meta, score(scores, metric, count))


def _progress(total: int, done: int) -> tqdm:
    return tqdm(
        total=total,
        initial=done,
        unit="step",
        disable=not (sys.stderr.isatty() and distributed.is_first()),
        leave=False,
    )
