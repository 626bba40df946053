"""Those who watch a run: trackers, and what a caller of `finetune` brings.

Shapes: `S` steps, `N` texts, `C` classes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optax

from gpt2_jax import distributed
from gpt2_jax.config import FinetuneConfig
from gpt2_jax.errors import UserError, leave_to_caller
from gpt2_jax.training.results import Results


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What a callback is told of the run that begins, or goes on."""

    id: str  # the same after --resume, and no other run has it
    name: str  # of its folder
    folder: Path  # on this machine, also where the run is in a bucket
    config: FinetuneConfig
    first_step: int  # taken already; more than 0 in a resumed run
    num_steps: int  # of the whole run
    steps_per_epoch: int


class Callback:
    """Watches a run; to be inherited from. Every method may be left as it is.

    A callback changes nothing: the run is bit for bit the one without it. What it
    raises ends the run, and reaches the caller of `finetune` as it is; the run can be
    resumed. Of several processes the first one calls. A resumed run calls again with
    the steps since its checkpoint; one that was complete calls nothing.
    """

    def on_start(self, run: RunInfo) -> None:
        """Come before the first step, and again where the run is resumed."""

    def on_step(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Come after a call of many steps, of which `step` is the last.

        Args:
            metrics: of each of the S steps up to `step`, float32 [S]: `loss`,
                `texts_per_second` (the same for all steps of a call, the first with
                the compiler's time) and, with the optimizer of the config,
                `learning_rate`.
        """

    def on_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Come every `eval_every` steps with `train_loss` and `validation_loss`."""

    def on_epoch(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Come when an epoch, counted from 1, is over and saved.

        Args:
            metrics: floats `step`, `train_accuracy` (of a few batches),
                `validation_loss`, `validation_accuracy` and `validation_f1`; and arrays
                `validation_logits` [N, C] (of GPT-2 alone, without the lexical part)
                and `validation_labels` [N], for metrics of one's own.
        """

    def on_end(self, results: Results | None) -> None:
        """Come last, whatever happened; None: the run failed or was stopped."""


class Observers:
    """Calls the callbacks of a run, `trackers` first.

    Args:
        batch_size: texts of a step.
        schedule: the learning rate by step; None: not known.
    """

    def __init__(
        self,
        trackers: Sequence[Callback],
        callbacks: Sequence[Callback],
        *,
        batch_size: int = 0,
        schedule: optax.Schedule | None = None,
    ) -> None:
        first = distributed.is_first()
        self._trackers = tuple(trackers) if first else ()
        self._callbacks = tuple(callbacks) if first else ()
        self._batch_size, self._schedule = batch_size, schedule
        self.results: Results | None = None  # for `on_end`

    @contextlib.contextmanager
    def watching(self, run: RunInfo) -> Iterator[None]:
        """Tell the callbacks of the beginning of the run, and of its end."""
        with contextlib.ExitStack() as started:
            for callback in (*self._trackers, *self._callbacks):
                with self._as_theirs(callback):
                    callback.on_start(run)
                started.callback(self._end, callback)
            yield

    def step(self, step: int, losses: np.ndarray, seconds: float) -> None:
        """Tell of a call that took the steps up to `step` in so many seconds."""
        if not (self._trackers or self._callbacks):
            return
        size = len(losses)
        metrics: dict[str, Any] = {"loss": losses}
        if self._schedule is not None:
            metrics["learning_rate"] = self._schedule(np.arange(step - size, step))
        metrics["texts_per_second"] = self._batch_size * size / max(seconds, 1e-9)
        told = {
            name: np.broadcast_to(np.asarray(values, np.float32), (size,))
            for name, values in metrics.items()
        }
        self._tell("on_step", step, told)

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell of a measurement on the way."""
        self._tell("on_evaluation", step, metrics)

    def epoch(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Tell of the end of an epoch."""
        self._tell("on_epoch", epoch, metrics)

    def _tell(self, hook: str, number: int, metrics: Mapping[str, Any]) -> None:
        for callback in (*self._trackers, *self._callbacks):
            with self._as_theirs(callback):  # a mapping of its own
                getattr(callback, hook)(number, dict(metrics))

    def _end(self, callback: Callback) -> None:
        with self._as_theirs(callback):
            callback.on_end(self.results)

    def _as_theirs(self, callback: Callback) -> contextlib.AbstractContextManager[None]:
        if callback in self._trackers:  # whose disk may be full
            return contextlib.nullcontext()
        return leave_to_caller(type(callback).__name__)


def check_callbacks(callbacks: Sequence[Callback]) -> None:
    """Refuse what is no callback.

    Raises:
        UserError: something else than an instance of a subclass of `Callback`.
    """
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise UserError(
                f"callbacks=...: {callback!r} is no instance of a subclass of "
                "gpt2_jax.Callback"
            )
