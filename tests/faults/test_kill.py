"""kill -9 anywhere: what was whole is there, and going on ends as if nobody killed."""

from __future__ import annotations

import functools
import hashlib
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crash_operations
import numpy as np
import pytest
from crash_worker import Worker, worker
from file_server import Answer, serve
from hub_server import add_repo
from training_helpers import random_run

from gpt2_jax.checkpoints.manifest import Manifest, read_manifest
from gpt2_jax.checkpoints.step_folders import find_steps
from gpt2_jax.errors import WeightsError
from gpt2_jax.weights.trained import load_model

_SEED = 11
# How often each operation is killed; together 200 times.
_KILLS = {
    "save": 40,
    "manifest": 25,
    "model": 25,
    "trunk": 30,
    "export": 20,
    "download": 30,
    "predict": 30,
}


@pytest.fixture(scope="module")
def forks() -> Iterator[Worker]:
    with worker() as started:
        yield started


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> Iterator[dict[str, dict[str, Any]]]:
    """What each operation asks for."""
    folder = tmp_path_factory.mktemp("jobs")
    content = np.random.default_rng(_SEED).bytes(200_000)
    with serve() as server:
        server.answers["/file"] = Answer(content)
        add_repo(server, "own/gpt2", {"model.safetensors": content}, commit="a" * 40)
        sha256 = hashlib.sha256(content).hexdigest()
        runs = [
            str(random_run(folder / "a")),
            str(random_run(folder / "b", pool="first")),
        ]
        jobs: dict[str, dict[str, Any]] = {operation: {} for operation in _KILLS}
        jobs["model"] = {"runs": runs}
        jobs["export"] = {"run": runs[0]}
        jobs["download"] = {"url": server.url, "sha256": sha256, "size": len(content)}
        yield jobs


def _files(folder: Path) -> dict[str, str]:
    """Return the hash of every file; of checkpoints, whose files tell the time, what
    their manifests say of the leaves.

    The lock of a download that was killed just after its file came to its place does
    not count: it goes with the next download of that file.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.match(".*.gpt2-jax-*/.lock") and _is_complete(path.parent):
            continue
        if path.is_file() and not name.startswith("checkpoints"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in folder.glob("checkpoints/*"):
        manifest = read_manifest(path)
        assert manifest is not None, path
        found[f"checkpoints/{path.name}"] = str(manifest.leaves)
    return found


def _is_complete(scratch: Path) -> bool:
    destination = scratch.name[1:].partition(".gpt2-jax-")[0]
    return len(list(scratch.iterdir())) == 1 and scratch.with_name(destination).exists()


def _check_killed(operation: str, folder: Path, whole: Path, runs: list[str]) -> None:
    """Check that what a killed operation left is whole, old or new."""
    if operation == "save":
        for step, found in find_steps(folder / "checkpoints").items():
            assert isinstance(found, Manifest) and found.step == step
    elif operation == "manifest" and (folder / "7").is_dir():
        read_manifest(folder / "7")  # or it raises
    elif operation == "model":
        try:
            pool = load_model(folder).config.pool
            assert pool in [load_model(Path(run)).config.pool for run in runs]
        except WeightsError as error:
            assert "damaged (SHA-256" in str(error) or "no trained" in str(error)
    elif operation == "trunk":
        assert {path.name for path in folder.iterdir()} <= {"sha256"}
    elif operation == "export" and (folder / "out").exists():
        assert _files(folder / "out") == _files(whole / "out")
    elif operation == "download":
        ours, theirs = _files(folder), _files(whole)
        for name in ours.keys() & theirs.keys() - {"hub/models--own--gpt2/refs/main"}:
            assert ours[name] == theirs[name], name
    elif operation == "predict" and (folder / "answers.jsonl").exists():
        content = (whole / "answers.jsonl").read_bytes()
        assert content.startswith((folder / "answers.jsonl").read_bytes())


Whole = Callable[[str], tuple[Path, float]]


@pytest.fixture(scope="module")
def whole(forks, jobs, tmp_path_factory) -> Whole:
    """What gives the folder of an operation that nobody killed, and its seconds."""
    folder = tmp_path_factory.mktemp("whole")

    @functools.cache
    def run(operation: str) -> tuple[Path, float]:
        ended = forks.run(operation, folder / operation, **jobs[operation])
        assert ended["codes"] == [0], ended
        return folder / operation, ended["seconds"]

    return run


def _kill_at_random(
    operation: str, count: int, folder: Path, forks: Worker, jobs: Any, whole: Whole
) -> int:
    """Kill so many times, check each, and return how many came before the end."""
    reference, seconds = whole(operation)
    expected, job = _files(reference), jobs[operation]
    killed, begun = 0, set()
    for i, part in enumerate(np.random.default_rng(_SEED).uniform(size=count)):
        path, after = folder / operation / str(i), part * seconds
        ended = forks.run(operation, path, signal=signal.SIGKILL, seconds=after, **job)
        if ended["codes"] == [-signal.SIGKILL]:
            killed += 1
        else:  # too late: the machine was busier when the whole one was timed
            seconds = min(seconds, ended["seconds"])
        _check_killed(operation, path, reference, jobs["model"]["runs"])
        newest = max(find_steps(path / "checkpoints"), default=0)
        ended = forks.run(operation, path, **job)
        assert ended["codes"] == [newest], (ended, path)
        begun.add(newest)
        found = _files(path)
        if newest == crash_operations.STEPS:  # killed before it removed the oldest
            found.pop(f"checkpoints/{newest - 2}", None)
        # A killed huggingface_hub leaves scratch files, each with a name of its own.
        left = [name for name in found if name.startswith("hub/")]
        for name in set(left) - expected.keys():
            del found[name]
        assert found == expected, (path, after)
        shutil.rmtree(path)
    if count > 5:
        assert killed > count / 3  # the others came too late
        assert operation != "save" or len(begun) > 2  # at different steps
    return killed


# What is there after a kill at that place in the commit of the sixth step.
_PLACES = {
    "renamed by orbax": 5,
    "read back": 5,
    "manifest half written": 5,
    "manifest written": 6,
    "old step half removed": 4,  # the first one to be removed is the second
}


@pytest.mark.slow
@pytest.mark.fault(1, 2)
def test_faults_2_a_kill_between_rename_and_manifest_leaves_the_step_before(
    forks, whole, tmp_path, caplog, fault_report
):
    expected = _files(whole("save")[0])
    for place, step in _PLACES.items():
        folder = tmp_path / place
        assert forks.run("save", folder, at=place)["codes"] == [-signal.SIGKILL]
        assert next(iter(find_steps(folder / "checkpoints"))) == step
        assert forks.run("save", folder)["codes"] == [step]
        assert _files(folder) == expected
    path = tmp_path / "read back" / "checkpoints" / "6"
    skipped = "skipped; it has no manifest: its save was cut short"
    assert f"{path}: {skipped}" in caplog.messages
    fault_report(len(_PLACES), len(_PLACES), f"warning: .../6: {skipped}", row=2)


@pytest.mark.fault(1)
@pytest.mark.parametrize("operation", ["save", "model", "download", "predict"])
def test_faults_1_a_kill_at_a_random_moment_loses_nothing(
    operation, forks, jobs, whole, tmp_path
):
    _kill_at_random(operation, 2, tmp_path, forks, jobs, whole)


@pytest.mark.slow
@pytest.mark.fault(1)
@pytest.mark.parametrize("operation", _KILLS)
def test_faults_1_200_kills_at_random_moments_lose_nothing(
    operation, forks, jobs, whole, tmp_path, fault_report
):
    count = _KILLS[operation]
    killed = _kill_at_random(operation, count, tmp_path, forks, jobs, whole)
    fault_report(count, count, f"{operation}: {killed} of {count} cut short, no word")
