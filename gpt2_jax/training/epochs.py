"""The training loop proper: steps, evaluations on the way, checkpoints."""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.training.train_state import TrainState
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from gpt2_jax.data.batches import Batch, epoch_rows, make_batch
from gpt2_jax.training import artifacts
from gpt2_jax.training.checkpoint import Checkpoints
from gpt2_jax.training.features import Features, feature_batch
from gpt2_jax.training.prepare import Prepared
from gpt2_jax.training.scoring import Scorer
from gpt2_jax.training.watch import StopSignals

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Trainer:
    """What a run of steps needs beside its state."""

    prepared: Prepared
    scorer: Scorer
    checkpoints: Checkpoints
    workdir: Path
    stop: StopSignals

    def run(self, state: TrainState) -> TrainState:
        """Take every step that `state` has not taken; return the state on the host.

        Raises:
            Interrupted: a signal came; the state is saved.
        """
        config, steps = self.prepared.config.train, self.scorer.steps
        num_rows = len(self.scorer.inputs["train"])
        per_epoch = num_rows // config.batch_size
        step, total = int(state.step), config.epochs * per_epoch
        metrics = artifacts.MetricsLog(self.workdir / "metrics.jsonl")
        metrics.truncate(step)
        key = jax.random.key(config.seed)
        losses: list[tuple[int, jax.Array]] = []  # not yet read from the device
        started = time.perf_counter()
        state = steps.place(state)
        with _progress(total, step) as bar, logging_redirect_tqdm([log.parent or log]):
            for epoch in range(step // per_epoch, config.epochs):
                rows = list(epoch_rows(num_rows, config.batch_size, config.seed, epoch))
                for batch_rows in rows[step - epoch * per_epoch :]:
                    batch = self._train_batch(batch_rows)
                    state, sums = steps.train(state, batch, key)
                    step += 1
                    losses.append((step, sums["loss"]))
                    bar.update()
                    if (step - 1) % config.eval_every == 0:
                        self._log_losses(metrics, losses)
                        seconds = time.perf_counter() - started
                        self._log_evaluation(metrics, state, step, total, seconds)
                    if step % per_epoch == 0:
                        self._log_losses(metrics, losses)
                        self._log_epoch(metrics, state, step, epoch)
                    stop = self.stop.requested
                    due = config.save_every and step % config.save_every == 0
                    if stop or due or step % per_epoch == 0:
                        # Losses first: a run that dies here must not lack them.
                        self._log_losses(metrics, losses)
                        self._save(state, step)
                    if stop:
                        self.checkpoints.close()
                        self.stop.leave(step, self.workdir)
        return steps.unplace(state)

    def _train_batch(self, rows: np.ndarray) -> Batch:
        inputs = self.scorer.inputs["train"]
        if isinstance(inputs, Features):
            batch = feature_batch(inputs, rows)
        else:
            batch = make_batch(inputs, rows, trim=self.prepared.trim)
        batch["weights"] = self.prepared.class_weights[batch["labels"]]
        return batch

    def _few(self, part: str) -> np.ndarray:
        """Return the rows that evaluations on the way look at, as the book does."""
        config = self.prepared.config.train
        num_rows = len(self.scorer.inputs[part])
        return np.arange(min(config.eval_batches * config.batch_size, num_rows))

    def _log_losses(
        self, metrics: artifacts.MetricsLog, losses: list[tuple[int, Any]]
    ) -> None:
        for step, loss in losses:
            metrics.write(step=step, loss=float(loss))
        losses.clear()

    def _log_evaluation(
        self,
        metrics: artifacts.MetricsLog,
        state: TrainState,
        step: int,
        total: int,
        seconds: float,
    ) -> None:
        scores = {
            f"{part}_loss": self.scorer.scores(state.params, part, self._few(part))[0]
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
        self, metrics: artifacts.MetricsLog, state: TrainState, step: int, epoch: int
    ) -> None:
        _, train = self.scorer.scores(state.params, "train", self._few("train"))
        loss, validation = self.scorer.scores(state.params, "validation")
        metrics.write(
            step=step,
            epoch=epoch + 1,
            train_accuracy=train,
            validation_accuracy=validation,
            validation_loss=loss,
        )
        log.info(
            "epoch %d: accuracy %.2f%% on %d training texts, %.2f%% on validation",
            epoch + 1,
            100 * train,
            len(self._few("train")),
            100 * validation,
        )

    def _save(self, state: TrainState, step: int) -> None:
        loss, accuracy = self.scorer.scores(state.params, "validation")
        count = len(self.scorer.inputs["validation"])
        self.checkpoints.save(
            self.scorer.steps.unplace(state),
            {"step": step, "validation_loss": loss, "validation_accuracy": accuracy},
            # Accuracy first; between equal accuracies the lower loss.
            score=round(accuracy * count) + 1 / (1 + loss),
        )


def _progress(total: int, done: int) -> tqdm:
    return tqdm(
        total=total,
        initial=done,
        unit="step",
        disable=not sys.stderr.isatty(),
        leave=False,
    )
