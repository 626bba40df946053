"""Ours and ONNX Runtime are timed on the same texts, and say the same."""

from __future__ import annotations

import sys

import pytest
from training_helpers import random_run

from experiments.benchmarks import onnx_runtime


@pytest.mark.slow
def test_each_case_is_a_row(tmp_path, monkeypatch, capsys):
    run = random_run(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["onnx_runtime", str(run), "--repeats", "1"])
    onnx_runtime.main()
    rows = capsys.readouterr().out.splitlines()[-len(onnx_runtime.CASES) :]
    assert [tuple(map(int, row.split("|")[1:4:2])) for row in rows] == [
        *onnx_runtime.CASES
    ]
    assert all(float(row.split("|")[6]) > 0 for row in rows)
