"""A process whose children save a small state step by step, until they are killed.

    python crash_worker.py JOBS

JOBS is a JSON list of {"folder", "seconds"} or {"folder", "at"}: a child is killed so
many seconds after its first save began, or kills itself at a named place. One process
imports what they all need; a fork is then cheap, as JAX has started nothing yet.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from flax.training.train_state import TrainState

from gpt2_jax.training import checkpoint, manifest, step_folders
from gpt2_jax.training.checkpoint import Checkpoints
from gpt2_jax.training.optimizer import FREEZE, TRAIN

STEPS = 12
LABELS = {"head": {"kernel": TRAIN}, "trunk": {"kernel": FREEZE}}


def first_state() -> TrainState:
    """Return step 0; every leaf is numpy, so that nothing has to be compiled."""
    head = np.random.default_rng(0).normal(size=(64, 300)).astype(np.float32)
    params = {"head": {"kernel": head}, "trunk": {"kernel": np.ones(3, np.float32)}}
    moments = {"mu": np.zeros_like(head)}
    unused: Any = None
    return TrainState(
        step=0, apply_fn=unused, params=params, tx=unused, opt_state=moments
    )


def advance(state: TrainState) -> TrainState:
    """Take a step that depends on all steps before."""
    head, mu = state.params["head"]["kernel"], state.opt_state["mu"]
    mu = np.float32(0.9) * mu + np.sin(head)
    head = head - np.float32(0.1) * mu
    params = {**state.params, "head": {"kernel": head}}
    return state.replace(step=state.step + 1, params=params, opt_state={"mu": mu})


def train(workdir: Path, *, started: Any = lambda: None) -> tuple[int, TrainState]:
    """Go on from what is there, saving each step; return where that was, and the end.

    The scores fall, so that the best is not among the newest.
    """
    step_folders.remove_leftovers(workdir)
    with Checkpoints(workdir, LABELS) as checkpoints:
        restored = checkpoints.restore(first_state(), best=False)
        state = first_state() if restored is None else restored[0]
        begun = int(state.step)
        state = state.replace(step=begun)
        started()
        for step in range(begun + 1, STEPS + 1):
            state = advance(state)
            checkpoints.save(state, {"step": step}, 1 / step)
    return begun, state


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(place: str) -> None:
    """Die at a place in the commit of the sixth step."""
    seen = []

    def sixth(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            seen.append(arguments)
            if len(seen) == 6:
                _die()
            return function(*arguments)

        return call

    if place == "renamed by orbax":
        checkpoint.check_leaves = sixth(checkpoint.check_leaves)
    elif place == "read back":
        checkpoint.hash_files = sixth(checkpoint.hash_files)
    elif place == "manifest half written":
        write_json = manifest.write_json

        def write_half(path: Path, values: dict[str, Any]) -> None:
            if values["step"] == 6:
                path.with_name(f".{path.name}.partial").write_text('{"form')
                _die()
            write_json(path, values)

        manifest.write_json = write_half
    elif place == "manifest written":
        step_folders.retain = sixth(step_folders.retain)
    elif place == "old step half removed":
        step_folders.shutil.rmtree = _die
    else:
        raise ValueError(place)


def _run(job: dict[str, Any]) -> None:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        if "at" in job:
            _die_at(job["at"])
        train(Path(job["folder"]), started=lambda: os.write(write, b"."))
        os._exit(0)
    os.close(write)
    os.read(read, 1)
    os.close(read)
    if "seconds" in job:
        time.sleep(job["seconds"])
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    for one in json.loads(sys.argv[1]):
        _run(one)
