"""Disks, memory, clocks and lines that are not as one hopes."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from serve_helpers import StubClassifier, head, serving, until
from training_helpers import error_line, random_run, run_config

from gpt2_jax.config import to_dict
from gpt2_jax.errors import DeviceError, explain_out_of_memory
from gpt2_jax.inference.scorer import Scorer
from gpt2_jax.training import finetune as loop
from gpt2_jax.workdir.clock import Clock
from gpt2_jax.workdir.lock import OWNER, workdir_lock
from gpt2_jax.workdir.paths import new_workdir


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return random_run(tmp_path_factory.mktemp("run"))


# Disks


@pytest.mark.slow
@pytest.mark.fault(11)
def test_answers_that_fill_a_small_disk_end_in_one_line(run, tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(command, check=False).returncode:
        pytest.skip(f"{' '.join(command)} is not allowed here")
    try:
        texts = [f"a text {i}" for i in range(900)]
        argv = ["predict", str(run), *texts, "--output", str(disk / "out")]
        error = error_line(capsys, argv, 2)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert f"{disk / 'out'}: cannot be written (No space left on device)" in error


@pytest.mark.slow
@pytest.mark.fault(11)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_standard_output_is_one_line(run):
    code = "import sys, gpt2_jax.cli.main; sys.exit(gpt2_jax.cli.main.main())"
    command = [sys.executable, "-c", code, "predict", str(run), "a text"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, "--no-compilation-cache"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
    assert done.returncode == 3, done.stderr
    assert "gpt2-jax: error: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


# Memory


def _allocate_too_much() -> None:
    """Ask XLA for 64 TiB."""
    jnp.ones(2**46, jnp.int8).block_until_ready()


@pytest.mark.parametrize(
    "run_out",
    [_allocate_too_much, lambda: np.empty(2**60, np.int8), lambda: [0] * 2**60],
)
def test_memory_that_is_not_there_is_one_line(run_out):
    with (
        pytest.raises(DeviceError, match=r"out of memory \(.*\); wait") as caught,
        explain_out_of_memory("wait"),
    ):
        run_out()
    assert "\n" not in str(caught.value) and caught.value.exit_code == 3


def test_other_errors_are_not_memorys():
    for error in (ValueError("RESOURCES"), jax.errors.JaxRuntimeError("INTERNAL: x")):
        with pytest.raises(type(error)), explain_out_of_memory(""):
            raise error


@pytest.mark.parametrize(
    ("changes", "ways"),
    [
        (
            {"trainable": ("last_block",)},
            ["--dtype bfloat16", "train less", "--reuse-max-bytes"],
        ),
        ({"trainable": ("all",)}, ["--dtype bfloat16", "--shard fsdp"]),
    ],
)
def test_training_without_memory_says_what_to_lower(
    changes, ways, tmp_path, tmp_path_factory, monkeypatch, capsys
):
    """Wherever a run meets that error of XLA's, which is a real one."""
    monkeypatch.setattr(loop, "prepare", lambda *_, **__: _allocate_too_much())
    config = run_config(tmp_path_factory, epochs=1, batch_size=7, **changes)
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(to_dict(config)))
    argv = ["finetune", "--config", str(settings), "--workdir", str(tmp_path / "run")]
    error = error_line(capsys, argv, 3)
    assert "out of memory (RESOURCE_EXHAUSTED: Out of memory" in error
    for way in ("lower --batch-size (now 7)", "--max-length (now that of ", *ways):
        assert way in error


def test_predicting_without_memory_says_what_to_do(run, monkeypatch, capsys):
    monkeypatch.setattr(Scorer, "logits", lambda *_: _allocate_too_much())
    error = error_line(capsys, ["predict", str(run), "a text"], 3)
    assert "out of memory" in error and "JAX_PLATFORMS=cpu" in error


def test_a_service_without_memory_says_so_and_is_never_ready(caplog):
    stub = StubClassifier(lambda text: float(bool(_allocate_too_much())))
    with serving(stub, wait=False) as service:
        until(lambda: "the model cannot be run: out of memory" in caplog.text)
        answer = service.send(head("/readyz", method="GET"))
        assert answer.startswith(b"HTTP/1.1 503") and b"see the service's log" in answer
    assert "Traceback" not in caplog.text


# The clock


@pytest.mark.fault(13)
def test_a_clock_that_is_set_back_harms_nothing(tmp_path, monkeypatch):
    """Names, locks and seconds; the demo's default folder is named after the time."""
    monkeypatch.chdir(tmp_path)
    now = _backwards(1_700_000_000.0)
    monkeypatch.setattr(time, "time", lambda: next(now))
    monkeypatch.setattr(time, "strftime", lambda *_: "run-20231114-221320")
    names = []
    for _ in range(3):
        folder = new_workdir()
        names.append(folder.name)
    assert names == [f"run-20231114-221320{end}" for end in ("", "-2", "-3")]
    (tmp_path / "held").mkdir()
    owner = {"pid": 2**22 + 1, "host": socket.gethostname(), "since": "2099-01-01"}
    (tmp_path / "held" / OWNER).write_text(json.dumps(owner))
    with workdir_lock(tmp_path / "held"):  # its owner is gone, whenever that was
        pass
    clock = Clock()
    with clock.phase("train"):
        pass
    assert all(seconds >= 0 for seconds in clock.seconds.values())


def _backwards(start: float) -> Iterator[float]:
    while True:
        start -= 3600
        yield start


@pytest.mark.slow
@pytest.mark.fault(13)
def test_a_run_whose_clock_jumps_back_tells_sane_seconds(
    tmp_path, tmp_path_factory, monkeypatch
):
    now = _backwards(time.time())
    monkeypatch.setattr(time, "time", lambda: next(now))
    results = loop.finetune(run_config(tmp_path_factory), tmp_path / "run")
    assert all(0 <= seconds < 600 for seconds in results["seconds"].values())
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    seconds = [line["seconds"] for line in map(json.loads, lines) if "seconds" in line]
    assert seconds == sorted(seconds) and seconds[0] >= 0
    loop.finetune(run_config(tmp_path_factory), tmp_path / "run", resume=True)


# One line of 100 MB

_LONG = """
import pathlib, re, sys
from gpt2_jax.data.tables import read_table
from gpt2_jax.errors import DataError
from gpt2_jax.data.reading import Reading
from gpt2_jax.inference.windows import windows
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) >> 10
path, how = pathlib.Path(sys.argv[1]), sys.argv[2]
before = peak()
try:
    if how == "train":
        read_table(path)
    elif how == "file":
        list(windows([], path, Reading(), sys.stdin.buffer))
    else:
        with path.open("rb") as stream:
            list(windows([], None, Reading(), stream))
except DataError as error:
    print(peak() - before, error)
"""


@pytest.mark.slow
@pytest.mark.fault(38)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_line_of_100_mb_is_refused_in_bounded_memory(suffix, tmp_path):
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak is read from /proc, which this system has not")
    path = tmp_path / f"x{suffix}"
    text = "word " * 20_000_000
    content = {
        ".csv": f"text,label\nshort,a\n{text},b\n",
        ".tsv": f"text\tlabel\nshort\ta\n{text}\tb\n",
        ".jsonl": f'{{"text": "short", "label": "a"}}\n{{"text": "{text}"}}\n',
    }
    path.write_text(content[suffix])
    for how, limit in (("train", 1000), ("file", 250), ("stdin", 250)):  # MiB
        done = subprocess.run(
            [sys.executable, "-c", _LONG, str(path), how],
            check=True,
            capture_output=True,
            text=True,
        )
        grown, message = done.stdout.split(" ", 1)
        assert re.search(
            r"line [23]: .*(longer than|no more than|field larger)", message
        )
        assert message.count("\n") == 1 and len(message) < 500
        assert int(grown) < limit, (how, grown)
