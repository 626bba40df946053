"""Runs that are told to stop, or killed, at random moments, as users run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash_worker import Worker, worker
from training_helpers import run_config

from gpt2_jax.checkpoints.manifest import Manifest
from gpt2_jax.checkpoints.step_folders import find_steps
from gpt2_jax.config import to_dict
from gpt2_jax.workdir.metrics_log import MEASURED

_SEED = 12
_TRIES = 50 if os.environ.get("GPT2_JAX_FAULTS") == "long" else 5
_LAST = 10


@pytest.fixture(scope="module")
def forks() -> Iterator[Worker]:
    with worker() as started:
        yield started


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> list[str]:
    settings = tmp_path_factory.mktemp("signals") / "config.json"
    config = run_config(tmp_path_factory, save_every=1, keep_checkpoints=_LAST)
    settings.write_text(json.dumps(to_dict(config)))
    return ["finetune", "--config", str(settings), "--resume"]


@pytest.fixture(scope="module")
def whole(forks, arguments, tmp_path_factory) -> tuple[Path, float]:
    """A run that nobody stopped, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    seconds = 0.0
    for _ in range(2):  # the second one finds its programs compiled
        shutil.rmtree(folder, ignore_errors=True)
        ended = forks.run("finetune", folder, arguments=_at(arguments, folder))
        assert ended["codes"] == [0], _log(folder)
        seconds = ended["seconds"]
    return folder, seconds


def _at(arguments: list[str], folder: Path) -> list[str]:
    return [*arguments, "--workdir", str(folder)]


def _log(folder: Path) -> str:
    return folder.with_name(folder.name + ".0.log").read_text()


def _leaves(folder: Path) -> dict[int, Any]:
    found = find_steps(folder / "checkpoints")
    whole = {step: m for step, m in found.items() if isinstance(m, Manifest)}
    assert whole == found
    return {step: manifest.leaves for step, manifest in whole.items()}


def _lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    *lines, _ = path.read_text().split("\n") if path.exists() else [""]
    read = [json.loads(line) for line in lines]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in read]


def _check_stopped(folder: Path, whole: Path) -> None:
    """Check that what is there is a part of the run that nobody stopped."""
    expected = _leaves(whole)
    for step, leaves in _leaves(folder).items():
        assert leaves == expected[step], step
    lines = _lines(folder)
    assert all(line in _lines(whole) for line in lines)


def _check_finished(folder: Path, whole: Path) -> None:
    assert _lines(folder) == _lines(whole)
    assert _leaves(folder)[_LAST] == _leaves(whole)[_LAST]
    for name in (
        "model/params.safetensors",
        "model/classifier.json",
        "predictions.csv",
    ):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    ours, theirs = (
        {
            re.sub(r"checkpoints/\d+/.*", "", str(p.relative_to(run)))
            for p in run.rglob("*")
        }
        for run in (folder, whole)
    )
    assert ours == theirs  # nothing else is left


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, marks=pytest.mark.fault(3)),
        pytest.param(signal.SIGINT, marks=pytest.mark.fault(4)),
        pytest.param(signal.SIGKILL, marks=pytest.mark.fault(1)),
    ],
)
def test_a_run_stopped_again_and_again_is_the_run_that_nobody_stopped(
    number, forks, arguments, whole, tmp_path, fault_report
):
    reference, seconds = whole
    random, codes, seen = np.random.default_rng(_SEED), Counter(), Counter()
    folder = tmp_path / "0"
    for i in range(_TRIES):
        ended = forks.run(
            "finetune",
            folder,
            arguments=_at(arguments, folder),
            signal=number,
            seconds=random.uniform(0, seconds),
        )
        (code,) = ended["codes"]
        # Before our handler is there the signal ends the process; shells say the same.
        assert code in (0, 128 + number, -number), (code, _log(folder))
        codes[code] += 1
        assert "Traceback" not in _log(folder), _log(folder)
        if code == 128 + number:
            words = re.findall(r"gpt2-jax: (.*?);", _log(folder)) or ["nothing"]
            seen[re.sub(r"step \d+", "step N", words[0])] += 1
        _check_stopped(folder, reference)
        if code == 0:
            _check_finished(folder, reference)
            folder = tmp_path / str(i + 1)
    assert forks.run("finetune", folder, arguments=_at(arguments, folder))["codes"] == [
        0
    ]
    _check_finished(folder, reference)
    name = signal.Signals(number).name
    said = ", ".join(f"{words} ({count})" for words, count in seen.items())
    ends = ", ".join(f"exit {code} ({count})" for code, count in sorted(codes.items()))
    fault_report(_TRIES, _TRIES, f"{name}: {ends}: {said or 'no word'}")
    assert codes[0] < _TRIES
