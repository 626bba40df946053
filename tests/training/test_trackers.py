"""What a run tells TensorBoard and Weights & Biases."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_helpers import finished_run, run_config

from gpt2_jax.config import TrainConfig, to_dict
from gpt2_jax.errors import DeviceError
from gpt2_jax.training.callbacks import Observers, RunInfo
from gpt2_jax.training.results import Results
from gpt2_jax.training.trackers import TensorBoard, WandB, trackers

EXPECTED = [
    (1, "train/step_loss", 0.5),
    (1, "train/learning_rate", 0.25),
    (1, "train/texts_per_second", 8.0),
    (2, "train/step_loss", 0.75),
    (2, "train/learning_rate", 0.25),
    (2, "train/texts_per_second", 8.0),
    (2, "train/loss", 0.25),
    (2, "validation/loss", 0.75),
    (2, "epoch", 1.0),
    (2, "train/accuracy", 0.5),
    (2, "validation/accuracy", 1.0),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    path = finished_run(tmp_path_factory) / "results.json"
    return Results.from_json(json.loads(path.read_text()))


def _info(folder: Path, factory: pytest.TempPathFactory, first: int = 0) -> RunInfo:
    return RunInfo("0a1b2c3d", "mail", folder, run_config(factory), first, 4, 2)


def _track(tracker: Any, info: RunInfo, results: Results | None) -> None:
    """Tell a tracker of two steps and of the end."""
    told = Observers([tracker], (), batch_size=4, schedule=lambda step: 0.25)
    with told.watching(info):
        after = info.first_step + 2
        told.step(after, np.asarray([0.5, 0.75], np.float32), seconds=1.0)
        told.evaluation(after, {"train_loss": 0.25, "validation_loss": 0.75})
        scores = {"train_accuracy": 0.5, "validation_accuracy": 1.0}
        told.epoch(1, {"step": after, **scores, "validation_logits": np.ones((3, 2))})
        told.results = results


def _scalars(path: Path) -> list[tuple[int, str, float]]:
    """Return what an event file holds: records of length, checksum, data, checksum."""
    events = pytest.importorskip("tensorboardX.proto.event_pb2")
    content, found, start = path.read_bytes(), [], 0
    while start < len(content):
        (length,) = struct.unpack_from("<Q", content, start)
        event = events.Event.FromString(content[start + 12 : start + 12 + length])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        start += length + 16
    return found


@pytest.mark.slow
def test_tensorboard_gets_every_value_and_the_final_figures(
    tmp_path, tmp_path_factory, results
):
    pytest.importorskip("tensorboardX")
    _track(TensorBoard(), _info(tmp_path, tmp_path_factory), results)
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = _scalars(path)
    assert found[: len(EXPECTED)] == EXPECTED
    final = {name: value for step, name, value in found[len(EXPECTED) :] if step == 2}
    assert final["test/accuracy"] == pytest.approx(results.accuracy["test"])
    assert final["seconds"] > 0 and "test/macro_f1" in final


@pytest.mark.slow
def test_tensorboard_begins_anew_after_the_checkpoint(tmp_path, tmp_path_factory):
    events = pytest.importorskip("tensorboardX.proto.event_pb2")
    _track(TensorBoard(), _info(tmp_path, tmp_path_factory, first=2), None)
    (path,) = (tmp_path / "tensorboard").iterdir()
    content, start, begun = path.read_bytes(), 0, []
    while start < len(content):
        (length,) = struct.unpack_from("<Q", content, start)
        event = events.Event.FromString(content[start + 12 : start + 12 + length])
        if event.HasField("session_log"):
            begun.append(event.step)
        start += length + 16
    assert begun == [3]
    assert {step for step, _, _ in _scalars(path)} == {3, 4}


class _FakeRun:
    """What wandb.init returns, as far as it is used."""

    def __init__(self, **settings: Any) -> None:
        self.settings, self.summary, self.logged = settings, {}, []
        self.ended: list[Any] = []

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged += [(step, name, value) for name, value in values.items()]

    def mark_preempting(self) -> None:
        self.ended.append("preempting")

    def finish(self, exit_code: int) -> None:
        self.ended.append(exit_code)


@pytest.fixture
def wandb_runs(monkeypatch) -> list[_FakeRun]:
    runs: list[_FakeRun] = []

    def init(**settings: Any) -> _FakeRun:
        runs.append(_FakeRun(**settings))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    return runs


@pytest.mark.slow
def test_weights_and_biases_gets_one_run_that_goes_on(
    tmp_path, tmp_path_factory, results, wandb_runs
):
    tracker = WandB(group="rates", tags=["seed 3"])
    info = _info(tmp_path, tmp_path_factory)
    _track(tracker, info, None)
    _track(tracker, dataclasses.replace(info, first_step=2), results)
    stopped, resumed = wandb_runs
    assert stopped.logged == EXPECTED
    assert (
        stopped.settings
        == resumed.settings
        == {
            "project": "gpt2-jax",
            "id": "0a1b2c3d",
            "resume": "allow",
            "name": "mail",
            "group": "rates",
            "tags": ("seed 3",),
            "dir": str(tmp_path),
            "config": to_dict(info.config),
        }
    )
    assert stopped.ended == ["preempting", 1] and stopped.summary == {}
    assert resumed.ended == [0]
    assert resumed.summary["test/accuracy"] == results.accuracy["test"]


_WATCHED = """
import sys
from gpt2_jax.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_run_of_weights_and_biases_is_stopped_without_a_traceback_and_goes_on(
    tmp_path, tmp_path_factory
):
    pytest.importorskip("wandb")
    config = run_config(tmp_path_factory)
    run = tmp_path / "run"
    command = [sys.executable, "-c", _WATCHED, "finetune", "--workdir", str(run)]
    command += ["--data", config.data.source, "--weights", str(config.weights)]
    command += ["--epochs", "4000", "--no-lexical", "--wandb", "--eval-every", "100"]
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True
    )
    while not list(run.glob("checkpoints/*/manifest.json")) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, error
    assert "Traceback" not in error and "go on with" in error
    command[command.index("4000")] = "1"
    done = subprocess.run(
        [*command, "--resume"], env=environment, capture_output=True, text=True
    )
    assert "the checkpoint is of step" in done.stderr  # it went further: no new run
    assert "Traceback" not in done.stderr
    (first,) = (run / "wandb").glob("offline-run-*")
    own = json.loads((run / "run.json").read_text())["id"]
    assert first.name.endswith(f"-{own}")


def test_none_is_there_unasked():
    assert trackers(TrainConfig()) == []


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_client_names_its_extra(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DeviceError, match=rf"--{name} needs .*gpt2-jax\[{name}\]"):
        trackers(dataclasses.replace(TrainConfig(), **{name: True}))
