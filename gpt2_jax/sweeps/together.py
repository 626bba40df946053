"""Runs of a sweep that train together, each as `finetune` would alone.

Every run is a thread, and one of them runs at a time: it goes on until it asks for
train steps, or ends. When all wait, their steps are taken in one call.
"""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
from flax.training.train_state import TrainState
from jax import Array
from jaxtyping import Float, Int, Key

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.engine.together import TogetherSteps
from gpt2_jax.engine.wrapper import Steps
from gpt2_jax.model.tree import Params
from gpt2_jax.workdir.memo import Memo
from gpt2_jax.workdir.signals import Interrupted, StopSignals

T = TypeVar("T")


def alike(config: FinetuneConfig) -> FinetuneConfig:
    """Return what runs that can train together have in common."""
    train = dataclasses.replace(config.train, seed=0, learning_rate=1.0)
    return dataclasses.replace(config, train=train)


def run_together(
    jobs: Sequence[Callable[[Memo], None]], memo: Memo, stop: StopSignals
) -> None:
    """Run the jobs, each with a memo that joins its run to the others, to their ends.

    Args:
        memo: shared by all.
        stop: what is asked of it is asked of every run; a job that fails asks it too.

    Raises:
        BaseException: what a job raised, after the others have stopped and saved.
    """
    back = threading.Semaphore(0)
    runs = [_Run(job, memo, stop, back, len(jobs)) for job in jobs]
    going = runs
    while going:
        for run in going:
            run.turn.release()
            back.acquire()
            if run.error is not None:
                stop.requested = stop.requested or signal.SIGTERM
        going = [run for run in going if not run.ended]
        if going:
            _take_steps([run.call for run in going if run.call is not None])
    errors = [run.error for run in runs if run.error is not None]
    errors.sort(key=lambda error: isinstance(error, Interrupted))
    if errors:
        raise errors[0]


@dataclasses.dataclass
class _Call:
    """The train steps that a run waits for, and then what came of them."""

    together: TogetherSteps
    state: TrainState
    rows: Int[np.ndarray, "S B"]
    key: Key[Array, ""]
    width: int
    found: tuple[TrainState, Float[np.ndarray, " S"]] | None = None
    error: Exception | None = None
    seconds: float = 0.0  # that the steps took, all runs' together


def _take_steps(calls: Sequence[_Call]) -> None:
    """Take as many steps of each as all have, padded to the widest."""
    count = min(len(call.rows) for call in calls)
    started = time.perf_counter()
    try:
        states, losses = calls[0].together.train(
            [call.state for call in calls],
            np.stack([call.rows[:count] for call in calls]),
            [call.key for call in calls],
            max(call.width for call in calls),
        )
    except Exception as error:  # every run says it in its own words
        for call in calls:
            call.error = error
        return
    seconds = time.perf_counter() - started
    for call, state, some in zip(calls, states, losses, strict=True):
        call.found, call.seconds = (state, some), seconds


class _Run(Memo):
    """A run in a thread of its own, and the memo that it is given."""

    def __init__(
        self,
        job: Callable[[Memo], None],
        memo: Memo,
        stop: StopSignals,
        back: threading.Semaphore,
        size: int,
    ) -> None:
        self.made, self.stop, self._memo = memo.made, stop, memo
        self._job, self._back, self._size = job, back, size
        self.turn = threading.Semaphore(0)
        self.call: _Call | None = None
        self.ended, self.error = False, None
        # A second signal ends the process, whatever its threads wait for.
        threading.Thread(target=self._do, daemon=True).start()

    def _do(self) -> None:
        self.turn.acquire()
        try:
            self._job(self)
        except BaseException as error:
            self.error: BaseException | None = error
        self.ended = True
        self._back.release()

    def get(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        return self._memo.get(kind, key, make)

    def join(self, steps: Any, together: Callable[[int], TogetherSteps]) -> Any:
        return _Joined(steps, together(self._size), self)

    def take(self, call: _Call) -> tuple[TrainState, Float[np.ndarray, " S"]]:
        """Wait until the steps of `call` are taken with those of the others."""
        self.call, started = call, time.perf_counter()
        self._back.release()
        self.turn.acquire()
        self.call = None
        self.waited += time.perf_counter() - started - call.seconds
        if call.error is not None:
            raise call.error
        assert call.found is not None
        return call.found


@dataclasses.dataclass(frozen=True)
class _Joined:
    """The steps of a run that trains with others; all else it does alone."""

    alone: Steps
    together: TogetherSteps
    run: _Run

    @property
    def num_devices(self) -> int:
        return self.alone.num_devices

    def train(
        self,
        state: TrainState,
        rows: Int[np.ndarray, "S B"],
        key: Key[Array, ""],
        width: int,
    ) -> tuple[TrainState, Float[np.ndarray, " S"]]:
        """Take the first of the steps, as many as all runs have."""
        return self.run.take(_Call(self.together, state, rows, key, width))

    def predict(
        self, params: Params, rows: Int[np.ndarray, " B"], width: int
    ) -> Float[Array, "_ C"]:
        return self.alone.predict(params, rows, width)

    def most_steps(self, batch_size: int, width: int) -> int:
        return self.alone.most_steps(batch_size, width)

    def place(self, tree: Any) -> Any:
        return self.alone.place(tree)

    def unplace(self, tree: Any) -> Any:
        return self.alone.unplace(tree)
