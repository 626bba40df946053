"""kill -9 anywhere in a save: FAULTS 1 and 2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import crash_worker
import numpy as np
import pytest
from crash_worker import STEPS, advance, first_state, train
from training_helpers import run_config

from gpt2_jax.config import to_dict
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


def _random_jobs(folder: Path, count: int) -> list[dict[str, Any]]:
    seconds = np.random.default_rng(_SEED).uniform(0, 0.5, count)
    return [
        {"folder": str(folder / str(i)), "seconds": float(s)}
        for i, s in enumerate(seconds)
    ]


def _check_all(folder: Path, jobs: list[dict[str, Any]]) -> None:
    states = _uninterrupted()
    begun = [_check(Path(job["folder"]), states) for job in jobs]
    print(f"{len(jobs)} kills; steps found: {np.bincount(begun).tolist()}")
    assert len(set(begun)) > 1  # the kills came at different steps


# What is there after a kill at that place in the commit of the sixth step.
_PLACES = {
    "renamed by orbax": 5,
    "read back": 5,
    "manifest half written": 5,
    "manifest written": 6,
    "old step half removed": 4,  # the first one to be removed is the second
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """Folders of killed processes, 5 at random moments and one at each place."""
    folder = tmp_path_factory.mktemp("killed")
    places = [{"folder": str(folder / place), "at": place} for place in _PLACES]
    _kill([*_random_jobs(folder, 5), *places])
    return folder


@pytest.mark.fault(1)
def test_faults_1_nothing_is_lost_by_a_kill_at_random_moments(killed):
    _check_all(killed, _random_jobs(killed, 5))


@pytest.mark.fault(2)
def test_faults_2_a_kill_between_rename_and_manifest_leaves_the_step_before(
    killed, caplog
):
    states = _uninterrupted()
    caplog.set_level("INFO", "gpt2_jax")
    assert {place: _check(killed / place, states) for place in _PLACES} == _PLACES
    path = killed / "read back" / "checkpoints" / "6"
    assert f"{path}: skipped; it has no manifest" in caplog.text
    path = killed / "old step half removed" / "checkpoints" / "2.removed"
    assert f"{path}: removed, what an earlier process left" in caplog.text


@pytest.mark.fault(1)
@pytest.mark.slow
def test_faults_1_nothing_is_lost_by_a_kill_at_200_random_moments(tmp_path):
    jobs = _random_jobs(tmp_path, 200)
    _kill(jobs)
    _check_all(tmp_path, jobs)


@pytest.mark.fault(1)
@pytest.mark.slow
def test_faults_1_a_run_killed_again_and_again_is_the_uninterrupted_run(
    tmp_path, tmp_path_factory
):
    settings = tmp_path / "config.json"
    config = run_config(tmp_path_factory, save_every=1, epochs=4)
    settings.write_text(json.dumps(to_dict(config)))
    cache = tmp_path / "cache"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    command = [sys.executable, "-m", "gpt2_jax", "finetune", "--config", str(settings)]

    def start(workdir: Path, *flags: str) -> subprocess.Popen:
        return subprocess.Popen(
            [*command, "--workdir", str(workdir), *flags],
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    assert start(tmp_path / "whole").wait() == 0
    killed, random = tmp_path / "killed", np.random.default_rng(_SEED)
    kills = 0
    for _ in range(6):
        process = start(killed, "--resume")
        lines = 0
        while not lines and process.poll() is None:
            time.sleep(0.01)
            log = killed / "metrics.jsonl"
            lines = len(log.read_bytes().splitlines()) if log.exists() else 0
        time.sleep(random.uniform(0, 1.0))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills > 1
    assert start(killed, "--resume").wait() == 0
    names = ["model/params.safetensors", "predictions.csv"]
    for name in names:
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    logs, leaves = [], []
    for workdir in (tmp_path / "whole", killed):
        text = (workdir / "metrics.jsonl").read_text()
        logs.append([json.loads(line) for line in text.splitlines()])
        for line in logs[-1]:
            line.pop("seconds", None)
        manifest = read_manifest(workdir / "checkpoints" / "20")
        assert manifest is not None
        leaves.append(manifest.leaves)
    assert logs[0] == logs[1] and leaves[0] == leaves[1]
    assert not [p for p in killed.rglob("*") if "partial" in p.name or "tmp" in p.name]
