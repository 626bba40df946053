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

from gpt2_jax.data.batches import epoch_rows
from gpt2_jax.training import artifacts
from gpt2_jax.training.checkpoint import Checkpoints
from gpt2_jax.training.prepare import Prepared
from gpt2_jax.training.scoring import Scorer
from gpt2_jax.training.selection import is_exhausted, score
from gpt2_jax.training.steps import MAX_STEPS
from gpt2_jax.training.watch import StopSignals
from gpt2_jax.training.writers import Writer

log = logging.getLogger(__name__)


# What one call may take: long enough to cost nothing, short enough to be stopped.
CALL_SECONDS = 0.5
CALL_BYTES = 64 << 20  # of data that does not lie on the devices


@dataclasses.dataclass(frozen=True)
class Trainer:
    """What a run of steps needs beside its state."""

    prepared: Prepared
    scorer: Scorer
    checkpoints: Checkpoints
    workdir: Path
    stop: StopSignals
    writers: Sequence[Writer] = ()

    def run(self, state: TrainState) -> TrainState:
        """Take every step that `state` has not taken; return the state on the host.

        Raises:
            Interrupted: a signal came; the state is saved.
        """
        config, steps = self.prepared.config.train, self.scorer.steps
        num_rows = len(self._rows("train"))
        per_epoch = num_rows // config.batch_size
        step, total = int(state.step), config.epochs * per_epoch
        metrics = artifacts.MetricsLog(self.workdir / "metrics.jsonl", self.writers)
        metrics.truncate(step)
        key = jax.random.key(config.seed)
        started = time.perf_counter()
        state, limit = steps.place(state), 1
        with _progress(total, step) as bar, logging_redirect_tqdm([log.parent or log]):
            for epoch in range(step // per_epoch, config.epochs):
                if is_exhausted(metrics.read(), config, len(self._rows("validation"))):
                    log.info("no better epoch in the last %d: stopped", config.patience)
                    break
                rows = epoch_rows(num_rows, config.batch_size, config.seed, epoch)
                while step < (epoch + 1) * per_epoch:
                    done = step - epoch * per_epoch
                    call, width = self._next_call(rows[done:], step, limit)
                    called = time.perf_counter()
                    state, losses = self._train(state, call, width, key)
                    metrics.write_losses(step, losses)
                    if time.perf_counter() - called < CALL_SECONDS / 2:
                        limit = min(2 * limit, MAX_STEPS)
                    step += len(call)
                    bar.update(len(call))
                    if (step - 1) % config.eval_every == 0:
                        seconds = time.perf_counter() - started
                        self._log_evaluation(metrics, state, step, total, seconds)
                    stop, ended = self.stop.requested, step % per_epoch == 0
                    due = config.save_every and step % config.save_every == 0
                    if stop or due or ended:
                        validation = self._rows("validation")
                        scores = self.scorer.measure(state.params, validation)
                        if ended:
                            self._log_epoch(metrics, state, step, epoch, scores)
                        self._save(state, step, scores)
                    if stop:
                        self.checkpoints.close()
                        self.stop.leave(step, self.workdir)
        return steps.unplace(state)

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
        missing = self._most_steps(width) - len(rows)
        filled = np.pad(rows, ((0, missing), (0, 0)), mode="edge")  # one shape of data
        data, index = self.scorer.reach(filled, width)
        return self.scorer.steps.train(state, data, index[: len(rows)], key, width)

    def _most_steps(self, width: int) -> int:
        """Return how many steps' data a call may copy, if it must, to the devices."""
        if self.scorer.placed is not None:
            return MAX_STEPS
        values = self.scorer.inputs.values
        step_bytes = self.prepared.config.train.batch_size * width * values[0].nbytes
        return min(max(CALL_BYTES // step_bytes, 1), MAX_STEPS)

    def _rows(self, part: str) -> np.ndarray:
        return self.scorer.inputs.parts[part]

    def _few(self, part: str) -> np.ndarray:
        """Return the rows that evaluations on the way look at, as the book does."""
        config = self.prepared.config.train
        return self._rows(part)[: config.eval_batches * config.batch_size]

    def _log_evaluation(
        self,
        metrics: artifacts.MetricsLog,
        state: TrainState,
        step: int,
        total: int,
        seconds: float,
    ) -> None:
        scores = {
            f"{part}_loss": self.scorer.scores(state.params, self._few(part))[0]
            for part in ("train", "validation")
        }
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
        metrics: artifacts.MetricsLog,
        state: TrainState,
        step: int,
        epoch: int,
        scores: dict[str, float],
    ) -> None:
        _, train = self.scorer.scores(state.params, self._few("train"))
        metrics.write(
            step=step,
            epoch=epoch + 1,
            train_accuracy=train,
            **{f"validation_{name}": value for name, value in scores.items()},
        )
        log.info(
            "epoch %d: accuracy %.2f%% on %d training texts, %.2f%% on validation",
            epoch + 1,
            100 * train,
            len(self._few("train")),
            100 * scores["accuracy"],
        )

    def _save(self, state: TrainState, step: int, scores: dict[str, float]) -> None:
        metric = self.prepared.config.train.metric
        self.checkpoints.save(
            self.scorer.steps.unplace(state),
            {"step": step, **{f"validation_{k}": v for k, v in scores.items()}},
            score=score(scores, metric, len(self._rows("validation"))),
        )


def _progress(total: int, done: int) -> tqdm:
    return tqdm(
        total=total,
        initial=done,
        unit="step",
        disable=not sys.stderr.isatty(),
        leave=False,
    )
