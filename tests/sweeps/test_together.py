"""Runs that train together are those that train alone."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from training_helpers import compilations, run_config

from gpt2_jax.config.sweep import SweepConfig
from gpt2_jax.engine.together import TogetherSteps
from gpt2_jax.model.tree import flatten
from gpt2_jax.sweeps.sweep import sweep
from gpt2_jax.weights.trained import load_model
from gpt2_jax.workdir.memo import Memo
from gpt2_jax.workdir.signals import Interrupted

pytestmark = pytest.mark.slow  # runs, trained and compiled

SEEDS = SweepConfig(seeds="0-1", grid=("train.learning_rate=1e-2,3e-3",))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return run_config(tmp_path_factory, epochs=1, keep="last")


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    return sweep(config, SEEDS, tmp_path_factory.mktemp("alone") / "runs")


def _params(folder):
    return flatten(load_model(folder / "model").params)


def _same_params(one, other):
    """Adam divides by the root of small squares, and so makes roundings larger."""
    ours, theirs = _params(one.folder), _params(other.folder)
    for path, leaf in theirs.items():
        np.testing.assert_allclose(ours[path], leaf, atol=1e-4, err_msg=path)


def _same_runs(found, others):
    for one, other in zip(found.finished, others.finished, strict=True):
        assert one.member == other.member
        _same_params(one, other)
        assert one.results["accuracy"] == other.results["accuracy"]
        losses = [_losses(each.folder) for each in (one, other)]
        assert losses[0].keys() == losses[1].keys()
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)
        assert losses[0][1] == pytest.approx(losses[1][1], abs=1e-6)  # no step before


def _losses(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.parametrize(("devices", "size"), [(1, 3), (8, 4)])
def test_they_are_the_runs_of_one_after_the_other(
    config, alone, tmp_path, devices, size
):
    train = dataclasses.replace(config.train, devices=devices)
    config = dataclasses.replace(config, train=train)
    runs = dataclasses.replace(SEEDS, together=size)
    with compilations() as counts:
        found = sweep(config, runs, tmp_path / "runs")
    # One program for all seeds and rates; one that is left over trains alone.
    assert counts["_take"] == 1
    assert counts["train_steps"] == (1 if devices == 1 else 0)
    if devices == 1:
        _same_runs(found, alone)
        return
    for one, other in zip(found.finished, alone.finished, strict=True):
        _same_params(one, other)


def test_a_sweep_that_is_stopped_goes_on_together(config, alone, tmp_path, monkeypatch):
    runs = dataclasses.replace(SEEDS, together=4)
    taken, train = [], TogetherSteps.train

    def stopped(self, states, *rest):
        taken.append(len(states))
        if len(taken) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return train(self, states, *rest)

    monkeypatch.setattr(TogetherSteps, "train", stopped)
    with pytest.raises(Interrupted, match="0 of 4 runs are finished"):
        sweep(config, runs, tmp_path / "runs")
    monkeypatch.setattr(TogetherSteps, "train", train)
    steps = [*(tmp_path / "runs").glob("*/checkpoints/*")]
    assert len(steps) >= 4  # every run has saved
    _same_runs(sweep(config, runs, tmp_path / "runs"), alone)


def test_one_that_ends_early_leaves_the_others_as_they_are(config, alone, tmp_path):
    """A run is finished before, another diverges."""
    first = alone.finished[0]
    shutil.copytree(first.folder, tmp_path / "runs" / first.member.name)
    grid = ("train.learning_rate=1e-2,3e-3,1e30",)
    runs = SweepConfig(seeds="0-1", grid=grid, together=8)
    found = sweep(config, runs, tmp_path / "runs")
    assert len(found.diverged) == 2
    _same_runs(found, alone)
    with (tmp_path / "runs" / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4


def test_what_fails_is_said_after_the_others_have_saved(config, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no such device")

    monkeypatch.setattr(TogetherSteps, "train", broken)
    runs = dataclasses.replace(SEEDS, together=3)
    with pytest.raises(RuntimeError, match="no such device"):
        sweep(config, runs, tmp_path / "runs")


def test_each_device_takes_the_steps_of_its_runs(config, tmp_path, monkeypatch):
    """Eight runs on eight devices are an eighth of the work for each."""
    flops = {}
    train = TogetherSteps.train

    def counted(self, states, rows, keys, width):
        arguments = self.arguments(states, rows, keys, width)
        compiled = self.program.lower(*arguments).compile()
        flops[self._mesh.size] = compiled.cost_analysis()["flops"]
        return train(self, states, rows, keys, width)

    monkeypatch.setattr(TogetherSteps, "train", counted)
    assert jax.device_count() == 8
    for devices in (1, 8):
        train_on = dataclasses.replace(config.train, devices=devices)
        some = dataclasses.replace(config, train=train_on)
        sweep(some, SweepConfig(seeds="0-7", together=8), tmp_path / str(devices))
    assert flops[8] < 0.2 * flops[1]  # 0.125, and what every device does


def test_a_run_alone_takes_its_own_steps():
    steps = object()
    assert Memo().join(steps, lambda size: None) is steps
