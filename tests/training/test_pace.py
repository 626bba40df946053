"""How fast the steps are, and their share of the time since the first start."""

from __future__ import annotations

import dataclasses
import json
import types
from typing import Any

import numpy as np
import pytest
from helpers import TINY
from training_helpers import finished_run, run_config

from gpt2_jax.config import TrainConfig
from gpt2_jax.evaluation.report import Report, write_report_html
from gpt2_jax.plan import targets
from gpt2_jax.plan.abstract import abstract_run, step_flops
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.training import pace
from gpt2_jax.training.finetune import finetune
from gpt2_jax.training.pace import Pace, tokens_of_pieces
from gpt2_jax.workdir.metrics_log import MetricsLog


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory)


def _history(run):
    return MetricsLog(run / "metrics.jsonl").read()


def test_a_run_tells_its_steps_and_on_a_cpu_no_peak(run):
    steps = [line for line in _history(run) if "loss" in line]
    assert len(steps) == 10 and all(line["step_seconds"] >= 0 for line in steps)
    told = [line for line in _history(run) if "loss" not in line]
    assert all(0 < line["goodput"] < 1 for line in told)
    assert any(line.get("tokens_per_second", 0) > 0 for line in told)
    assert not any("peak_fraction" in line for line in told)
    results = json.loads((run / "results.json").read_text())
    assert set(results["pace"]) == {"step_seconds", "tokens_per_second", "goodput"}
    assert "ms a step, " in (run / "report.html").read_text()


def _pace(config, history=(), started=None):
    task = prepare(config)
    engine: Any = types.SimpleNamespace(trunk_reused=True)
    return task, Pace(task, engine, history, started)


def test_a_call_that_was_compiled_is_no_measure_of_the_others(tmp_path_factory):
    task, found = _pace(run_config(tmp_path_factory))
    rows = task.texts.parts["train"][:16].reshape(2, 8)
    assert found.take(rows, 32, seconds=9.0, compiling=8.0) == 0.5
    assert found.tell() == {}
    assert found.take(rows, 32, seconds=2.0, compiling=0.0) == 1.0
    tokens = int(task.texts.lengths[rows].sum())
    assert found.tell() == {"step_seconds": 1.0, "tokens_per_second": tokens / 2}
    assert found.tell() == {}  # of what came since


def test_padding_is_no_token(tmp_path_factory):
    config = run_config(tmp_path_factory)
    plain = prepare(config)
    padded = prepare(dataclasses.replace(config, pool="last"))
    assert set(padded.texts.lengths) == {padded.width}
    np.testing.assert_array_equal(
        tokens_of_pieces(padded), np.minimum(plain.texts.lengths, padded.width)
    )


def test_where_the_peak_is_known_the_steps_say_their_share(
    tmp_path_factory, monkeypatch
):
    monkeypatch.setattr(pace, "known_peak", lambda devices, config: 1e9)
    task, found = _pace(run_config(tmp_path_factory))
    rows = task.texts.parts["train"][:16].reshape(2, 8)
    found.take(rows, 32, seconds=4.0, compiling=0.0)
    flops = step_flops(
        abstract_run(task.model.config, task.config.train), task.config.train, 32
    )
    assert flops > 0
    assert found.tell()["peak_fraction"] == round(2 * flops / 4.0 / 1e9, 6)


def test_the_flops_of_a_step_are_those_of_its_matmuls():
    config = dataclasses.replace(TINY, num_classes=5)
    train = TrainConfig(trainable=("head",), batch_size=4)
    # The head alone, forwards and the gradient of its kernel.
    assert step_flops(abstract_run(config, train), train, 8) == 2 * (2 * 4 * 12 * 5)
    whole = step_flops(abstract_run(config, train, reused=False), train, 8)
    kernels = TINY.num_layers * 12 * TINY.embed_dim**2
    assert whole > 2 * kernels * 4  # of each text one token at least
    twice = dataclasses.replace(train, batch_size=8)
    assert step_flops(abstract_run(config, twice), twice, 8) == 2 * (2 * 8 * 12 * 5)


def _device(kind, number=0, **more):
    return types.SimpleNamespace(device_kind=kind, id=number, **more)


def test_each_kind_of_device_is_that_of_one_target():
    kinds = [kind for target in targets.TARGETS.values() for kind in target.kinds]
    assert len(set(kinds)) == len(kinds)
    for name, target in targets.TARGETS.items():
        assert target.kinds and (target.card is None) == ("TPU" in target.kinds[0]), (
            name
        )
        if target.card is not None:
            assert target.card.name in target.kinds
        for kind in target.kinds:
            assert targets.known_peak([_device(kind)], TINY) == target.peak(TINY)
    assert targets.known_peak([_device("cpu")], TINY) is None
    assert targets.known_peak([_device("NVIDIA L40")], TINY) is None


def test_two_cores_of_a_chip_have_one_peak():
    cores = [_device("TPU7x", i, coords=[i // 2, 0, 0]) for i in range(4)]
    peak = targets.TARGETS["tpu7x"].peak(TINY)
    assert targets.known_peak(cores, TINY) == 2 * peak
    cards = [_device("NVIDIA L4", i) for i in range(3)]
    assert targets.known_peak(cards, TINY) == 3 * targets.TARGETS["l4"].peak(TINY)


class _Killed(Exception):
    pass


def _killed_at(step, monkeypatch):
    """Let the process die after the lines of `step` were written."""
    write = MetricsLog.write_losses

    def dying(log, before, losses, seconds):
        write(log, before, losses, 1.0)
        if before + len(losses) >= step:
            raise _Killed

    monkeypatch.setattr(MetricsLog, "write_losses", dying)


@pytest.mark.slow
def test_goodput_counts_the_kept_steps_and_all_the_time(
    tmp_path_factory, tmp_path, monkeypatch
):
    config, run = run_config(tmp_path_factory), tmp_path / "run"
    with monkeypatch.context() as patch:
        _killed_at(7, patch)
        with pytest.raises(_Killed):
            finetune(config, run)
    lost = [line["step"] for line in _history(run) if "loss" in line]
    assert lost[-1] == 7  # the last checkpoint is of step 5
    started = json.loads((run / "run.json").read_text())["started"]
    with monkeypatch.context() as patch:
        _killed_at(99, patch)  # each step takes a second
        patch.setattr(pace.time, "time", lambda: started + 40.0)
        results = finetune(config, run, resume=True)
    assert json.loads((run / "run.json").read_text())["started"] == started
    assert [line["step"] for line in _history(run) if "loss" in line] == [*range(1, 11)]
    assert (
        results.pace and results.pace["goodput"] == 10 / 40
    )  # steps 6 and 7 count once


def test_a_run_of_an_earlier_version_has_no_goodput():
    assert pace.goodput(3.0, None) == {}
    assert pace.summarize([{"step": 1, "loss": 0.5}], None) is None


def test_the_report_of_such_a_run_has_no_row(run, tmp_path):
    results = json.loads((run / "results.json").read_text())
    config = json.loads((run / "config.json").read_text())
    texts = [""] * results["test"]["n"]
    found = {}
    for kept in (True, False):
        told = results if kept else {**results, "pace": None}
        write_report_html(Report(told, config, texts, {}, tmp_path))
        found[kept] = (tmp_path / "report.html").read_text()
    assert "training steps" in found[True] and "training steps" not in found[False]
