"""What a run will call, each program once: to compile it before it is needed."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

import jax
import numpy as np
from flax.training.train_state import TrainState

from gpt2_jax.engine.packing import Pack
from gpt2_jax.engine.resident import Call, ResidentSteps
from gpt2_jax.engine.scoring import batches_to_score
from gpt2_jax.engine.texts import Texts
from gpt2_jax.engine.widths import epoch_rows
from gpt2_jax.plan.task import Task
from gpt2_jax.workdir.clock import BESIDE
from gpt2_jax.workdir.run import Run

log = logging.getLogger(__name__)


def few_rows(task: Task, texts: Texts, part: str) -> np.ndarray:
    """Return the rows that evaluations on the way look at, as the book does."""
    config = task.config.train
    return texts.parts[part][: config.eval_batches * config.batch_size]


def batches_to_train(
    task: Task, texts: Texts, epochs: int
) -> list[tuple[np.ndarray, int]]:
    """Return a batch [1, B], and its width, of each shape that those of epochs have."""
    train, trained = task.config.train, texts.parts["train"]
    found: dict[tuple[int, Pack | None], np.ndarray] = {}
    for epoch in range(epochs):
        for rows in trained[
            epoch_rows(len(trained), train.batch_size, train.seed, epoch)
        ]:
            found.setdefault((texts.width(rows), texts.pack(rows)), rows[None])
    return [(rows, width) for (width, _), rows in found.items()]


def batches_scored(
    task: Task, texts: Texts, num_devices: int
) -> list[tuple[np.ndarray, int]]:
    """Return a batch [B], and its width, of each shape that evaluations have."""
    few = [few_rows(task, texts, part) for part in ("train", "validation")]
    found: dict[tuple[int, int, Pack | None], np.ndarray] = {}
    for rows in (*few, *texts.parts.values()):
        for _, batch, width in batches_to_score(texts, rows, num_devices):
            found.setdefault((len(batch), width, texts.pack(batch)), batch)
    return [(rows, width) for (_, width, _), rows in found.items()]


@contextlib.contextmanager
def compiling_beside(
    task: Task,
    run: Run,
    texts: Texts,
    steps: ResidentSteps,
    first_state: Callable[[], TrainState],
) -> Iterator[None]:
    """Compile in a thread, while the block runs, what the first epoch will call.

    What it has not begun at an error or a signal is left out. Settings of jax that the
    caller holds in a `with` are not those of the thread: then all is compiled again
    when it is called.

    Raises:
        Interrupted: a signal came.

    Args:
        texts: to come; `steps` are over them.
        first_state: makes the state that the steps will be given.
    """
    ended = threading.Event()

    def compile_all() -> None:
        try:
            state = steps.shapes(first_state())
            for call in _calls(task, texts, steps, state):
                if ended.is_set():
                    return
                call.program.lower(*call.arguments).compile()
        except Exception as error:  # the call itself says it again
            log.debug("not compiled ahead: %s", error)

    # A second signal ends the process, whatever its threads do.
    thread = threading.Thread(target=compile_all, name=BESIDE, daemon=True)
    thread.start()
    try:
        yield
        with run.phase("compile"):
            while thread.is_alive():
                run.stop.poll()
                thread.join(0.1)  # seconds
    finally:
        ended.set()
        thread.join()


def _calls(
    task: Task, texts: Texts, steps: ResidentSteps, state: TrainState
) -> Iterator[Call]:
    for rows, width in batches_scored(task, texts, steps.num_devices):
        yield steps.predict_call(state.params, rows, width)
    key = jax.random.key(task.config.train.seed)
    for rows, width in batches_to_train(task, texts, epochs=1):
        yield steps.train_call(state, rows, key, width, texts.pack(rows[0]))
