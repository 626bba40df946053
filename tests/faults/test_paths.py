"""Paths with all that a path may hold, and those that no disk has."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from training_helpers import error_line, random_run

from gpt2_jax.cli.main import main
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.tables import read_table
from gpt2_jax.inference.windows import windows


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return random_run(tmp_path_factory.mktemp("run"))


ODD = ["-Ünï ćødé\n数据 🙂 %s{0}#?&'\";|$x"]
ODD += [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("with space", "-dash", "new\nline", "\x1b[2J", "x" * 250)
]


@pytest.mark.fault(12)
@pytest.mark.parametrize("name", ODD)
def test_odd_paths_are_good_ones(name, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, name)
    Path(f"{name}.csv").write_text("text,label\na,ham\nb,spam\nc,ham\nd,spam\n")
    predict = ["predict", f"--file={name}.csv", f"--output={name}.out", "--", name]
    assert main(predict) == 0
    assert len(Path(f"{name}.out").read_text().splitlines()) == 4
    assert len(read_table(Path(f"{name}.csv")).texts) == 4
    assert len(next(windows([], Path(f"{name}.csv"), Reading(), sys.stdin.buffer))) == 4
    capsys.readouterr()
    error = error_line(capsys, ["evaluate", f"--data={name}.no", "./" + name], 4)
    assert ".no: no such file" in error


@pytest.mark.fault(12)
def test_paths_that_no_disk_has_are_one_line(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    long = "x" * 300
    # To pathlib of Python 3.14 such a thing is not there; before, it was an error.
    model, texts = (5, 4) if sys.version_info >= (3, 14) else (2, 2)
    for argv, code in (
        (["predict", long, "a text"], model),
        (["evaluate", long], model),
        (["predict", str(run), "--file", long], texts),
        (["predict", str(run), "a text", "--output", long], 2),
        (["finetune", "--dry-run", "--data", long], 4),
        (["finetune", "--dry-run", "--weights", long], model),
        (["finetune", "--dry-run", "--config", long], 2),
        (["convert", str(run), long, "--to", "hf"], 2),
    ):
        line = error_line(capsys, argv, code)
        assert "File name too long" in line or "no such file" in line, argv
    for source in ("a\0b.csv", "\ud800.csv"):
        values = {"data": {"source": source}}
        Path("config.json").write_text(json.dumps(values))
        argv = ["finetune", "--dry-run", "--config", "config.json"]
        assert "cannot be read" in error_line(capsys, argv, 4)
