"""Ours and ONNX Runtime are timed on the same texts, and say the same."""

from __future__ import annotations

import sys

import pytest
from training_helpers import random_run

from experiments.benchmarks import onnx


@pytest.mark.slow
def test_each_case_is_a_row(tmp_path, monkeypatch, capsys):
    run = random_run(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["onnx", str(run), "--repeats", "1"])
    onnx.main()
    rows = capsys.readouterr().out.splitlines()[-len(onnx.CASES) :]
    assert [tuple(map(int, row.split("|")[1:4:2])) for row in rows] == [*onnx.CASES]
    assert all(float(row.split("|")[6]) > 0 for row in rows)
