"""kill -9 anywhere in a save: FAULTS 1 and 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import crash_worker
import numpy as np
import pytest
from crash_worker import STEPS, advance, first_state, train

from gpt2_jax.training.manifest import read_manifest
from gpt2_jax.training.step_folders import find_steps

_SEED = 11


def _kill(jobs: list[dict[str, Any]]) -> None:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "ignore", crash_worker.__file__, json.dumps(jobs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _uninterrupted() -> list[Any]:
    """Return the states of all steps."""
    states = [first_state()]
    for _ in range(STEPS):
        states.append(advance(states[-1]))
    return states


def _check(workdir: Path, states: list[Any]) -> int:
    """Go on after a kill; return the step that was there.

    What is there restores, what is there in the end is what would have been, and
    nothing else is.
    """
    valid = [*find_steps(workdir / "checkpoints"), 0]
    begun, state = train(workdir)
    assert begun == valid[0]
    for got, want in (
        (state.params["head"]["kernel"], states[-1].params["head"]["kernel"]),
        (state.opt_state["mu"], states[-1].opt_state["mu"]),
    ):
        np.testing.assert_array_equal(got, want)
    left = {path.name for path in (workdir / "checkpoints").iterdir()}
    best = str(min(int(name) for name in left))
    assert left == {best, str(STEPS - 1), str(STEPS)}
    for name in left:
        assert read_manifest(workdir / "checkpoints" / name) is not None
    assert not [path for path in workdir.rglob("*") if "partial" in path.name]
    return begun


def _kill_at_random(tmp_path: Path, count: int) -> None:
    seconds = np.random.default_rng(_SEED).uniform(0, 0.5, count)
    folders = [tmp_path / str(i) for i in range(count)]
    jobs = [
        {"folder": str(folder), "seconds": float(s)}
        for folder, s in zip(folders, seconds, strict=True)
    ]
    _kill(jobs)
    states = _uninterrupted()
    begun = [_check(folder, states) for folder in folders]
    print(f"{count} kills; steps found: {np.bincount(begun).tolist()}")
    assert len(set(begun)) > 1  # the kills came at different steps


def test_faults_1_nothing_is_lost_by_a_kill_at_random_moments(tmp_path):
    _kill_at_random(tmp_path, 8)


@pytest.mark.slow
def test_faults_1_nothing_is_lost_by_a_kill_at_200_random_moments(tmp_path):
    _kill_at_random(tmp_path, 200)


# What the sixth step is after a kill there, or the fifth where it does not count yet.
_PLACES = {
    "renamed by orbax": 5,
    "read back": 5,
    "manifest half written": 5,
    "manifest written": 6,
    "old step half removed": 4,  # the first one to be removed is the second
}


def test_faults_2_a_kill_between_rename_and_manifest_leaves_the_step_before(
    tmp_path, caplog
):
    folders = {place: tmp_path / place for place in _PLACES}
    _kill([{"folder": str(f), "at": place} for place, f in folders.items()])
    states = _uninterrupted()
    assert {p: _check(f, states) for p, f in folders.items()} == _PLACES
    for place, step in (("read back", 6), ("old step half removed", 2)):
        path = folders[place] / "checkpoints" / str(step)
        assert f"{path}: skipped; it has no manifest" in caplog.text
