"""A run that is stopped, and goes on: FAULTS 3, 4, 6, 7, 17 and 18."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from helpers import random_params, write_hugging_face
from training_helpers import (
    ON_DISK,
    finished_run,
    losses,
    run_config,
    shared_programs,
    write_texts,
)

from gpt2_jax.checkpoints.manifest import read_manifest
from gpt2_jax.config import FinetuneConfig, GPT2Config, to_dict
from gpt2_jax.engine import trunk
from gpt2_jax.engine.engine import Engine
from gpt2_jax.engine.resident import ResidentSteps
from gpt2_jax.errors import UserError
from gpt2_jax.model.gpt2 import to_classifier
from gpt2_jax.model.lora import add_adapters
from gpt2_jax.model.tree import Params
from gpt2_jax.plan import prepare as preparing
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.training import finetune as finetuning
from gpt2_jax.training import loop
from gpt2_jax.training.finetune import finetune
from gpt2_jax.training.milestones import Milestones
from gpt2_jax.workdir.metrics_log import MEASURED
from gpt2_jax.workdir.signals import Interrupted, StopSignals

_LAST = 10  # step of the runs here; an epoch has 5


@pytest.fixture(scope="module", autouse=True)
def _programs(tmp_path_factory):
    with shared_programs(tmp_path_factory.getbasetemp() / "programs"):
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> FinetuneConfig:
    return run_config(tmp_path_factory)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that nobody stopped; it must not be changed."""
    return finished_run(tmp_path_factory)


def _lines(workdir: Path) -> list[dict[str, Any]]:
    text = (workdir / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]


def _leaves(workdir: Path) -> dict[str, str]:
    """Return the hashes of params and optimizer state after the last step."""
    manifest = read_manifest(workdir / "checkpoints" / str(_LAST))
    assert manifest is not None and any("opt_state" in name for name in manifest.leaves)
    return dict(manifest.leaves)


def _assert_same_run(workdir: Path, run: Path) -> None:
    assert _lines(workdir) == _lines(run)
    assert _leaves(workdir) == _leaves(run)
    model = "model/params.safetensors"
    assert (workdir / model).read_bytes() == (run / model).read_bytes()


def _files(workdir: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(workdir)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(workdir.rglob("*"))
        if path.is_file()
    }


Signal = Callable[[pytest.MonkeyPatch], None]


def _at_step(step: int) -> Signal:
    """Return what makes a SIGTERM come during `step`; before the first one for 0."""

    def arrange(patch: pytest.MonkeyPatch) -> None:
        after, run = Milestones.after, finetuning.train
        # The signal comes by step, the other run's calls take as many as they can.
        patch.setattr(loop, "MAX_STEPS", 1)

        def do_after(self, state, now, **saved):
            if now == step:
                self.run.stop.requested = signal.SIGTERM
            return after(self, state, now, **saved)

        def do_run(*arguments):
            if step == 0:
                arguments[-2].stop.requested = signal.SIGTERM
            return run(*arguments)

        patch.setattr(Milestones, "after", do_after)
        patch.setattr(finetuning, "train", do_run)

    return arrange


def _stop(
    config: FinetuneConfig, workdir: Path, arrange: Signal, **resume: Any
) -> Interrupted:
    with pytest.MonkeyPatch.context() as patch:
        arrange(patch)
        with pytest.raises(Interrupted) as caught:
            finetune(config, workdir, **resume)
    assert caught.value.exit_code == 143
    assert not (workdir / "results.json").exists()
    assert f"--workdir {workdir} --resume" in str(caught.value)
    return caught.value


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(0, marks=pytest.mark.slow),
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(4, marks=pytest.mark.slow),  # of an evaluation
        5,  # the end of an epoch: with metrics and a score to make up for
        # of an evaluation, in the middle of an epoch
        pytest.param(7, marks=pytest.mark.slow),
        pytest.param(8, marks=pytest.mark.slow),
        pytest.param(10, marks=pytest.mark.slow),  # the last
    ],
)
def test_faults_6_a_stopped_and_resumed_run_is_the_uninterrupted_run(
    step, run, config, tmp_path, caplog
):
    workdir = tmp_path / "run"
    stopped = _stop(config, workdir, _at_step(step))
    if step:
        assert f"stopped at step {step}; " in str(stopped)
        assert [s for s, _ in losses(workdir)] == list(range(1, step + 1))
        assert read_manifest(workdir / "checkpoints" / str(step)) is not None
    else:
        assert "no step was under way" in str(stopped)
    with caplog.at_level("INFO", "gpt2_jax"):
        finetune(config, workdir, resume=True)
    _assert_same_run(workdir, run)
    if step:
        assert f"resumed at step {step} of 10" in caplog.messages
        assert any("trunk" in m and "computed again" in m for m in caplog.messages)
    else:
        assert "no checkpoint to resume from: starting at step 0" in caplog.messages


@pytest.mark.fault(6)
@pytest.mark.slow
def test_faults_6_stopped_at_every_step_it_is_still_that_run(run, config, tmp_path):
    workdir = tmp_path / "run"
    for step in range(_LAST + 1):
        _stop(config, workdir, _at_step(step), resume=bool(step))
    finetune(config, workdir, resume=True)
    _assert_same_run(workdir, run)


def _in_evaluation(count: int) -> Signal:
    """Return what makes a SIGTERM come while a part is scored for the `count`th time.

    The first time is before training.
    """

    def arrange(patch: pytest.MonkeyPatch) -> None:
        logits, seen = Engine.logits, []

        def score(self, params, rows):
            seen.append(rows)
            if len(seen) == count:
                self.poll.__self__.requested = signal.SIGTERM
            return logits(self, params, rows)

        patch.setattr(Engine, "logits", score)

    return arrange


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    ("count", "step"),
    [
        pytest.param(1, None, marks=pytest.mark.slow),
        (2, 1),  # the first evaluation on the way
        pytest.param(6, 5, marks=pytest.mark.slow),  # of the first epoch, on validation
        pytest.param(7, 5, marks=pytest.mark.slow),  # and on training texts
    ],
)
def test_faults_3_a_signal_in_an_evaluation_leaves_it_to_the_resumed_run(
    count, step, run, config, tmp_path
):
    workdir = tmp_path / "run"
    stopped = _stop(config, workdir, _in_evaluation(count))
    if step is None:
        assert "no step was under way" in str(stopped)
        assert not losses(workdir) if (workdir / "metrics.jsonl").exists() else True
    else:
        assert f"stopped at step {step}; " in str(stopped)
    finetune(config, workdir, resume=True)
    _assert_same_run(workdir, run)


@pytest.mark.fault(3)
def test_faults_3_a_signal_in_the_trunk_ends_it_between_calls(
    config, tmp_path, monkeypatch
):
    ran = []
    monkeypatch.setattr(trunk, "CALLS_IN_FLIGHT", 0)
    monkeypatch.setattr("gpt2_jax.engine.packing.CALL_TOKENS", 64)
    pack = trunk.pack

    def packs(*arguments):
        for packed in pack(*arguments):
            ran.append(packed)
            os.kill(os.getpid(), signal.SIGTERM)
            yield packed

    monkeypatch.setattr(trunk, "pack", packs)
    with pytest.raises(Interrupted, match="no step was under way; go on with: "):
        finetune(config, tmp_path / "run")
    assert len(ran) == 1


@pytest.mark.fault(3)
def test_faults_3_a_signal_while_loading_leaves_the_folder_as_it_was(
    config, tmp_path, monkeypatch
):
    """There is no gap before the weights are read; nothing was begun."""
    monkeypatch.setattr(
        "gpt2_jax.plan.task.Task.identity",
        lambda _: os.kill(os.getpid(), signal.SIGTERM),
    )
    with pytest.raises(Interrupted, match="nothing was begun"):
        finetune(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.fault(1)
def test_a_run_that_died_after_a_save_loses_no_loss(
    tmp_path_factory, tmp_path, monkeypatch
):
    config = run_config(tmp_path_factory, save_every=3, eval_every=100, epochs=1)
    workdir = tmp_path / "run"
    train, taken = ResidentSteps.train, []

    def die(self, state, rows, *arguments):
        if len(taken) >= 3:
            raise RuntimeError
        taken.extend(rows)
        return train(self, state, rows, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ResidentSteps, "train", die)
        with pytest.raises(RuntimeError):
            finetune(config, workdir)
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # what a kill leaves of a line
    finetune(config, workdir, resume=True)
    assert [step for step, _ in losses(workdir)] == [1, 2, 3, 4, 5]


@pytest.mark.fault(7)
def test_faults_7_a_finished_run_is_already_complete(run, config, tmp_path, caplog):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    before = _files(workdir)
    for resume in (True, "auto"):
        with caplog.at_level("INFO", "gpt2_jax"):
            results = finetune(config, workdir, resume=resume)
        assert results == json.loads((run / "results.json").read_text())
    assert caplog.messages.count("already complete: 10 of 10 steps") == 2
    assert _files(workdir) == before


@pytest.mark.slow
@pytest.mark.fault(1)
def test_a_run_that_died_in_its_report_is_resumed_to_the_same_results(
    run, config, tmp_path
):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    (workdir / "results.json").unlink()
    results = finetune(config, workdir, resume=True)
    expected = json.loads((run / "results.json").read_text())
    for key in ("accuracy", "test", "steps", "examples_seen"):
        assert results[key] == expected[key]
    _assert_same_run(workdir, run)


def _changed(config: FinetuneConfig, **changes: Any) -> FinetuneConfig:
    fields = {k: v for k, v in changes.items() if hasattr(config.train, k)}
    train = dataclasses.replace(config.train, **fields)
    rest = {k: v for k, v in changes.items() if k not in fields}
    return dataclasses.replace(config, train=train, **rest)


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool": "mean"}, "pool: there 'last_real', here 'mean'"),
        ({"seed": 7}, "train.seed: there 123, here 7"),
        ({"batch_size": 4}, "train.batch_size: there 8, here 4"),
        ({"trainable": ("head",)}, "train.trainable: there ['last_block']"),
        ({"weight_decay": 0.5}, "train.weight_decay: there 0.1, here 0.5"),
    ],
)
def test_faults_17_what_decides_a_run_may_not_change(changes, message, run, config):
    before = _files(run)
    with pytest.raises(UserError) as caught:
        finetune(_changed(config, **changes), run, resume=True)
    assert message in str(caught.value)
    assert "eval_every" not in str(caught.value)
    assert str(run / "config.json") in str(caught.value)
    assert _files(run) == before


@pytest.mark.fault(17)
def test_faults_17_the_split_may_not_change(run, config):
    data = dataclasses.replace(config.data, split=(0.5, 0.25, 0.25))
    with pytest.raises(UserError, match=r"data\.split: there .*data\.rows\.test: "):
        finetune(dataclasses.replace(config, data=data), run, resume=True)


@pytest.mark.fault(17)
def test_faults_17_other_weights_are_refused_and_moved_ones_are_not(
    run, config, tmp_path
):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    moved = tmp_path / "moved"
    shutil.copytree(config.weights, moved)
    finetune(dataclasses.replace(config, weights=str(moved)), workdir, resume=True)
    other = write_hugging_face(tmp_path / "other", ON_DISK, random_params(ON_DISK, 1))
    with pytest.raises(UserError, match=r"\(pretrained\.sha256: there [^;]*\);"):
        finetune(dataclasses.replace(config, weights=str(other)), workdir, resume=True)


@pytest.mark.fault(17)
def test_faults_17_a_head_that_is_drawn_with_another_last_bit_is_resumed(
    run, config, tmp_path, monkeypatch
):
    """XLA rounds the draw otherwise on another processor; checkpoints hold the head."""
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    monkeypatch.setattr(preparing, "to_classifier", _draw_otherwise)
    finetune(config, workdir, resume=True)


def _draw_otherwise(*arguments: Any, **keywords: Any):
    model, params = to_classifier(*arguments, **keywords)
    head = {k: np.nextafter(x, np.float32(1)) for k, x in params["out_head"].items()}
    return model, {**params, "out_head": head}


@pytest.mark.fault(17)
def test_faults_17_what_is_drawn_is_no_part_of_the_pretrained_weights(
    tmp_path_factory, monkeypatch
):
    config = run_config(tmp_path_factory, trainable=("lora",))
    identity = prepare(config).identity()
    monkeypatch.setattr(preparing, "add_adapters", _adapters_of_another_draw)
    other = prepare(config).identity()
    assert other.pop("weights.sha256") != identity.pop("weights.sha256")
    assert other == identity


def _adapters_of_another_draw(params: Params, config: GPT2Config, _: Any) -> Params:
    return add_adapters(params, config, jax.random.key(77))


@pytest.mark.fault(17)
def test_faults_17_an_older_run_knows_its_weights_by_their_older_hash(
    run, config, tmp_path
):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    values = json.loads((workdir / "run.json").read_text())
    del values["is"]["pretrained.sha256"]
    (workdir / "run.json").write_text(json.dumps(values))
    finetune(config, workdir, resume=True)
    other = write_hugging_face(tmp_path / "other", ON_DISK, random_params(ON_DISK, 1))
    with pytest.raises(UserError, match=r"\(weights\.sha256: there [^;]*\);"):
        finetune(dataclasses.replace(config, weights=str(other)), workdir, resume=True)


@pytest.mark.slow
@pytest.mark.fault(17)
def test_faults_17_epochs_and_rate_may_change_and_are_recorded(
    run, config, tmp_path, caplog
):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    longer = _changed(config, epochs=3, learning_rate=1e-3, eval_every=100)
    with caplog.at_level("INFO", "gpt2_jax"):
        finetune(longer, workdir, resume=True)
    assert "resumed with train.learning_rate: there 0.01, here 0.001" in caplog.messages
    assert any("not the run that it would have been" in m for m in caplog.messages)
    assert [step for step, _ in losses(workdir)] == list(range(1, 16))
    assert losses(workdir)[:_LAST] == losses(run)
    recorded = json.loads((workdir / "run.json").read_text())["changes"]
    assert ["train.epochs", 2, 3] in recorded[0]
    assert json.loads((workdir / "config.json").read_text())["train"]["epochs"] == 3
    with pytest.raises(UserError, match="the checkpoint is of step 15, but"):
        finetune(_changed(longer, epochs=1), workdir, resume=True)


@pytest.mark.fault(8, 17)
def test_a_config_that_the_run_did_not_write_is_not_resumed(run, config, tmp_path):
    """With `--config` it is both what was there and what is asked for."""
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    path = workdir / "config.json"
    path.write_text(path.read_text().replace("0.01", "0.21"))
    with pytest.raises(UserError, match=r"config\.json: damaged, or changed by hand"):
        finetune(_changed(config, learning_rate=0.21), workdir, resume=True)


@pytest.mark.fault(18)
def test_faults_18_other_data_are_refused_unless_allowed(
    run, config, tmp_path, tmp_path_factory, caplog
):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    path = write_texts(tmp_path / "texts.csv")
    path.write_text(path.read_text().replace("lunch", "dinner"))
    data = dataclasses.replace(config.data, source=str(path))
    other = dataclasses.replace(_changed(config, epochs=3), data=data)
    with pytest.raises(UserError, match=r"data\.sha256: .*--allow-data-change"):
        finetune(other, workdir, resume=True)
    finetune(other, workdir, resume=True, allow_data_change=True)
    assert any("resumed with other data" in m for m in caplog.messages)
    assert [step for step, _ in losses(workdir)] == list(range(1, 16))


def test_resume_is_one_of_three_words(config, tmp_path):
    with pytest.raises(UserError, match="resume='always'"):
        finetune(config, tmp_path / "run", resume="always")


@pytest.mark.slow
@pytest.mark.fault(3, 4)
def test_faults_3_and_4_signals_to_a_process_set_its_exit_code(run, config, tmp_path):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(to_dict(config)))
    processes = {}
    for signum in (signal.SIGTERM, signal.SIGINT):
        workdir = tmp_path / signum.name
        command = [sys.executable, "-m", "gpt2_jax", "finetune"]
        command += ["--config", str(settings), "--workdir", str(workdir)]
        processes[signum] = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    for signum, process in processes.items():
        deadline = time.monotonic() + 60
        while not (tmp_path / signum.name / "metrics.jsonl").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signum)
    for signum, process in processes.items():
        _, error = process.communicate(timeout=60)
        workdir = tmp_path / signum.name
        assert process.returncode == 128 + signum
        assert error.count("\n") == 1 and f"--workdir {workdir} --resume" in error
        stopped = len(losses(workdir))
        if "no step was under way" in error:
            assert stopped in (0, len(losses(run)))  # before all, or after
        else:
            assert read_manifest(workdir / "checkpoints" / str(stopped)) is not None
        assert not (workdir / ".owner.json").exists()
    finetune(config, workdir, resume=True)
    np.testing.assert_allclose(losses(workdir), losses(run), rtol=1e-4)


@pytest.mark.fault(3)
def test_faults_3_a_second_signal_of_any_kind_has_its_usual_effect(tmp_path):
    with StopSignals(tmp_path) as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
