"""What goes to metrics.jsonl goes to TensorBoard and Weights & Biases too."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import struct
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from gpt2_jax.config import FinetuneConfig, TrainConfig
from gpt2_jax.errors import DeviceError
from gpt2_jax.workdir.metrics_log import MetricsLog
from gpt2_jax.workdir.writers import check_writers, open_writers

LINES = [
    {"step": 1, "loss": 0.5},
    {"step": 1, "seconds": 2.0, "train_loss": 0.25, "validation_loss": 0.75},
    {"step": 2, "epoch": 1, "validation_accuracy": 1.0},
]
EXPECTED = [
    (1, "train/step_loss", 0.5),
    (1, "seconds", 2.0),
    (1, "train/loss", 0.25),
    (1, "validation/loss", 0.75),
    (2, "epoch", 1.0),
    (2, "validation/accuracy", 1.0),
]


def _write(config: FinetuneConfig, workdir: Path) -> None:
    with open_writers(config, workdir) as writers:
        log = MetricsLog(workdir / "metrics.jsonl", writers)
        for line in LINES:
            log.write(**line)
    assert log.read() == LINES


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


def test_tensorboard_gets_every_value_of_every_line(tmp_path):
    pytest.importorskip("tensorboardX")
    _write(FinetuneConfig(train=TrainConfig(tensorboard=True)), tmp_path)
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert _scalars(path) == EXPECTED


def test_weights_and_biases_gets_them_and_the_config(tmp_path, monkeypatch):
    logged: list[tuple[int, str, float]] = []
    started: dict[str, Any] = {}

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            logged.extend((step, name, value) for name, value in values.items())

    @contextlib.contextmanager
    def init(**settings):
        started.update(settings)
        yield Run()
        started["finished"] = True

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    _write(FinetuneConfig(weights="124M", train=TrainConfig(wandb=True)), tmp_path)
    assert logged == EXPECTED
    assert started["config"]["weights"] == "124M"
    assert started["dir"] == str(tmp_path) and started["finished"]


@pytest.mark.slow
def test_weights_and_biases_itself_takes_them(tmp_path):
    pytest.importorskip("wandb")
    here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    code = (
        f"import sys; sys.path[:0] = {here!r}\n"
        "from pathlib import Path\n"
        "import test_writers as t\n"
        "config = t.FinetuneConfig(train=t.TrainConfig(wandb=True))\n"
        f"t._write(config, Path({str(tmp_path)!r}))\n"
    )
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert any(run.glob("*.wandb"))


def test_no_writer_is_opened_unasked(tmp_path):
    with open_writers(FinetuneConfig(), tmp_path) as writers:
        assert writers == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_client_names_its_extra(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DeviceError, match=rf"--{name} needs .*gpt2-jax\[{name}\]"):
        check_writers(dataclasses.replace(TrainConfig(), **{name: True}))
    check_writers(TrainConfig())
