"""Real processes on one machine that train as one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import joined_worker
import numpy as np
import pytest
from training_helpers import (
    losses,
    make_classifier,
    make_texts,
    run_config,
)

from gpt2_jax import distributed
from gpt2_jax.cli import main as cli
from gpt2_jax.config import FinetuneConfig, to_dict
from gpt2_jax.engine import trunk
from gpt2_jax.engine.devices import require_platform
from gpt2_jax.errors import DeviceError, UserError
from gpt2_jax.model.tree import flatten
from gpt2_jax.training.finetune import finetune
from gpt2_jax.weights.trained import load_model
from gpt2_jax.workdir.metrics_log import MetricsLog
from gpt2_jax.workdir.signals import Interrupted


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def _open(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command],
        # Each process compiles every program.
        env=os.environ
        | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _start(
    num: int, config: FinetuneConfig, workdir: Path, *flags: str
) -> list[subprocess.Popen]:
    """Start `num` processes of one run, of one device each."""
    settings = workdir.with_suffix(".json")
    settings.write_text(json.dumps(to_dict(config)))
    command = ["-m", "gpt2_jax", "finetune", "--config", str(settings)]
    command += ["--workdir", str(workdir), "--no-compilation-cache", *flags]
    command += ["--coordinator", f"localhost:{_free_port()}", "--num-processes"]
    return [
        _open([*command, str(num), "--process-id", str(process)])
        for process in range(num)
    ]


def _run_jobs(num: int, jobs: dict[Path, FinetuneConfig]) -> None:
    """Train each config into its folder, with `num` processes that meet once."""
    described = [
        {
            "config": to_dict(config),
            "workdir": str(workdir),
            "holds": workdir.name.endswith("holding"),
        }
        for workdir, config in jobs.items()
    ]
    command = [joined_worker.__file__, f"localhost:{_free_port()}", str(num)]
    processes = [
        _open([*command, str(process), json.dumps(described)]) for process in range(num)
    ]
    ended = _end(processes, 300)
    assert [code for code, _, _ in ended] == [0] * num, ended


def _end(processes: list[subprocess.Popen], seconds: float = 120) -> list[tuple]:
    """Return exit code, standard output and standard error of each."""
    try:
        outputs = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *out) for p, out in zip(processes, outputs, strict=True)]


def _sweep(num: int, config: FinetuneConfig, workdir: Path) -> list[tuple]:
    """Run two seeds of `config` as `num` processes."""
    settings = workdir.with_suffix(".json")
    settings.write_text(json.dumps(to_dict(config)))
    command = ["-m", "gpt2_jax", "sweep", "--config", str(settings), "--seeds", "0-1"]
    command += ["--workdir", str(workdir), "--no-compilation-cache"]
    if num > 1:
        command += ["--coordinator", f"localhost:{_free_port()}"]
        command += ["--num-processes", str(num), "--process-id"]
    ended = _end(
        [_open([*command, str(i)] if num > 1 else command) for i in range(num)], 300
    )
    assert [code for code, _, _ in ended] == [0] * num, ended
    return ended


def _run(num: int, config: FinetuneConfig, workdir: Path, *flags: str) -> list[tuple]:
    ended = _end(_start(num, config, workdir, *flags))
    assert [code for code, _, _ in ended] == [0] * num, ended
    return ended


def _wait_for_steps(processes: list[subprocess.Popen], workdir: Path, steps: int):
    """Wait until `steps` are in metrics.jsonl."""
    deadline = time.monotonic() + 120
    metrics = workdir / "metrics.jsonl"
    while not metrics.is_file() or len(metrics.read_text().splitlines()) < steps:
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _config(factory: pytest.TempPathFactory, **train) -> FinetuneConfig:
    return run_config(factory, **{"devices": None, **train})


def _assert_same_run(got: Path, expected: Path) -> None:
    np.testing.assert_allclose(losses(got), losses(expected), rtol=1e-5)
    ours, theirs = (flatten(load_model(run).params) for run in (got, expected))
    for path, leaf in theirs.items():
        np.testing.assert_allclose(ours[path], leaf, rtol=0, atol=1e-5, err_msg=path)


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path_factory, tmp_path):
    # The head alone compiles fastest; four processes train all the others below.
    changes = {"learning_rate": 1e-4, "trainable": ("head",), "eval_every": 5}
    config = _config(tmp_path_factory, **changes)
    (_, first, _), (_, second, _) = _run(2, config, tmp_path / "run")
    finetune(run_config(tmp_path_factory, **changes), tmp_path / "one")
    _assert_same_run(tmp_path / "run", tmp_path / "one")
    assert "device: 2 x cpu (cpu), jit, 2 processes" in first
    assert "epoch 2:" in first and f"run: {tmp_path / 'run'}" in first
    # gloo itself prints a line
    assert not [line for line in second.splitlines() if "Gloo" not in line]


_TOGETHER: dict[str, tuple[int, dict[str, Any]]] = {
    "last block": (4, {}),
    "last block, holding": (4, {}),
    "all, cut": (4, {"trainable": ("all",), "shard": "fsdp"}),
    "pmap": (2, {"parallel": "pmap"}),
    "pmap, holding": (2, {"parallel": "pmap"}),
    "all": (2, {"trainable": ("all",)}),
    "adapters": (2, {"trainable": ("lora",), "batch_size": 6}),
}


@pytest.fixture(scope="module", params=[2, 4])
def trained_together(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    jobs = {
        folder / name: _config(tmp_path_factory, learning_rate=1e-4, **changes)
        for name, (num, changes) in _TOGETHER.items()
        if num == request.param
    }
    _run_jobs(request.param, jobs)
    return folder


@pytest.mark.slow
def test_several_processes_train_what_one_trains(
    trained_together, tmp_path_factory, tmp_path
):
    workdirs = list(trained_together.iterdir())
    assert len(workdirs) > 1
    for workdir in workdirs:
        changes = {**_TOGETHER[workdir.name][1], "parallel": "jit", "shard": "none"}
        one = run_config(tmp_path_factory, learning_rate=1e-4, **changes)
        finetune(one, tmp_path / workdir.name)
        _assert_same_run(workdir, tmp_path / workdir.name)


@pytest.mark.slow
def test_processes_that_share_no_disk_share_a_bucket(tmp_path_factory, tmp_path):
    changes = {"learning_rate": 1e-4, "trainable": ("head",), "keep": "best"}
    url = f"file://{tmp_path}/bucket/run"  # the last --workdir given counts
    _run(2, _config(tmp_path_factory, **changes), tmp_path / "no", "--workdir", url)
    finetune(run_config(tmp_path_factory, **changes), tmp_path / "one")
    _assert_same_run(tmp_path / "bucket" / "run", tmp_path / "one")
    assert not (tmp_path / "no").exists()


_LONG = {"epochs": 12, "eval_every": 1000, "learning_rate": 1e-4}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    finetune(run_config(tmp_path_factory, **_LONG), workdir)
    return workdir


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """The folder of a run of two processes, of which one was sent SIGTERM."""
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    processes = _start(2, _config(tmp_path_factory, **_LONG), workdir)
    _wait_for_steps(processes, workdir, 3)
    processes[1].send_signal(signal.SIGTERM)
    (first, _, error), (second, _, _) = _end(processes, 60)
    assert (first, second) == (143, 143)
    step = len(losses(workdir))
    assert 1 <= step < 60 and f"stopped at step {step}; " in error
    assert (workdir / "checkpoints" / str(step)).is_dir()
    return workdir


@pytest.mark.fault(5)
@pytest.mark.slow
@pytest.mark.parametrize("resumed_by", [1, 2, 4])
def test_a_signal_to_one_of_two_stops_both_and_loses_no_step(
    resumed_by, stopped, uninterrupted, tmp_path_factory, tmp_path
):
    workdir = shutil.copytree(stopped, tmp_path / "run")
    if resumed_by == 1:
        finetune(run_config(tmp_path_factory, **_LONG), workdir, resume=True)
    else:
        _run(resumed_by, _config(tmp_path_factory, **_LONG), workdir, "--resume")
    assert [step for step, _ in losses(workdir)] == list(range(1, 61))
    _assert_same_run(workdir, uninterrupted)


@pytest.mark.slow
def test_what_one_process_refuses_all_refuse(tmp_path_factory, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    ended = _end(_start(2, _config(tmp_path_factory), tmp_path / "run"))
    for code, _, error in ended:
        assert code == 2
        assert "holds a run already" in error


def test_who_is_alone_is_told_to_start_the_others(tmp_path_factory, tmp_path):
    config = _config(tmp_path_factory)
    processes = _start(3, config, tmp_path / "run", "--start-timeout", "1")
    processes[0].kill()  # nobody to meet
    ((code, _, error),) = _end(processes[1:2], 30)
    _end(processes)
    assert code == 3
    assert "not all processes came within 1 s; start this on all 3 hosts" in error
    assert "Traceback" not in error and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--num-processes", "2", "--workdir", "run"],
        ["--distributed"],  # each process would choose a folder of its own
    ],
)
def test_flags_that_start_nothing_are_refused(flags, capsys):
    assert cli.main(["finetune", *flags]) == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gpu", "tpu"])
def test_a_device_that_is_not_there_is_an_error(name):
    with pytest.raises(DeviceError, match=rf"--device {name}: .* found 8 x cpu"):
        require_platform(name)
    require_platform("cpu")


def test_one_process_needs_nobody():
    def refuse() -> None:
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        distributed.on_first_process(refuse)
    assert distributed.agree(15, 3) == (15, 3) and distributed.agree(None, 3)[0] is None


@pytest.mark.parametrize("depth", [2, 4])
def test_the_shares_of_the_processes_are_the_whole_trunk(depth, monkeypatch):
    model, params = make_classifier()
    texts = make_texts(40)
    whole = trunk.run_trunk(model.config, params, texts, depth)
    values, starts = np.zeros_like(whole.values), []

    def keep(out: np.ndarray, counts: list[int]) -> None:
        if out.ndim == 1:
            starts.append(out)
        assert len(counts) == 3 and min(counts) > 0 and sum(counts) == len(out)

    monkeypatch.setattr(trunk, "exchange_rows", keep)
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    for process in range(3):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        trunk.run_trunk(model.config, params, texts, depth, values)
    order = np.unique(texts.starts, return_inverse=True)[1]
    placed = whole.starts if depth == 4 else np.sum(starts, axis=0)[order]
    for row, start in enumerate(placed):
        size = whole.lengths[row]
        np.testing.assert_allclose(
            values[start : start + size], whole.tokens_of(row), atol=1e-5
        )


@pytest.mark.fault(15)
@pytest.mark.slow
def test_a_run_goes_on_over_any_number_of_devices(
    tmp_path_factory, tmp_path, monkeypatch
):
    workdir = tmp_path / "run"
    for devices, parallel, stop in ((1, "jit", 3), (4, "jit", 7), (2, "pmap", None)):
        config = run_config(
            tmp_path_factory, learning_rate=1e-4, devices=devices, parallel=parallel
        )
        if stop is None:
            finetune(config, workdir, resume=True)
            continue
        with monkeypatch.context() as patch:
            write = MetricsLog.write_losses

            def signal_at(log, step, values, seconds, write=write, stop=stop):
                write(log, step, values, seconds)
                if step < stop <= step + len(values):
                    signal.raise_signal(signal.SIGTERM)

            patch.setattr(MetricsLog, "write_losses", signal_at)
            with pytest.raises(Interrupted):
                finetune(config, workdir, resume=devices != 1)
    one = run_config(tmp_path_factory, learning_rate=1e-4)
    finetune(one, tmp_path / "one")
    _assert_same_run(workdir, tmp_path / "one")


@pytest.mark.slow
def test_a_sweep_of_several_processes_is_that_of_one(tmp_path, tmp_path_factory):
    config = _config(tmp_path_factory, epochs=1)
    for num in (1, 2):
        _sweep(num, config, tmp_path / str(num))
    for seed in (0, 1):
        name = f"seed={seed}"
        got, expected = (tmp_path / str(num) / name for num in (2, 1))
        np.testing.assert_allclose(losses(got), losses(expected), rtol=1e-4)
        ours, theirs = (flatten(load_model(run).params) for run in (got, expected))
        for path, leaf in theirs.items():
            np.testing.assert_allclose(ours[path], leaf, atol=1e-4, err_msg=path)
    tables = [(tmp_path / str(num) / "table.md").read_text() for num in (1, 2)]
    assert tables[0] == tables[1]
