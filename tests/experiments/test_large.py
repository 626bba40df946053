"""Far larger files are written, and what reads them is measured."""

from __future__ import annotations

import json
import sys

import pytest

from experiments.benchmarks.large import ROWS, command_of, measured, write_texts


def test_every_text_is_another_one(tmp_path):
    write_texts(tmp_path / "texts.txt", 3000, labelled=False)
    lines = (tmp_path / "texts.txt").read_text("utf-8").splitlines()
    assert len(lines) == len(set(lines)) == 3000
    write_texts(tmp_path / "texts.jsonl", 20, labelled=True)
    lines = (tmp_path / "texts.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["label"] for row in rows} == {"ham", "spam"}
    for what in ROWS:
        command = command_of(what, tmp_path / "run", tmp_path / "t", tmp_path / "out")
        assert str(tmp_path / "t") in command


def test_the_peak_is_that_of_the_process():
    held = bytearray(200_000_000)  # by this one: none of the new one's
    held[::4096] = b"1" * len(held[::4096])
    _, small = measured([sys.executable, "-c", "pass"])
    _, large = measured([sys.executable, "-c", "x = b'1' * 100_000_000"])
    assert small < 100 and 90 < large - small < 110
    with pytest.raises(SystemExit, match="exit code 3"):
        measured([sys.executable, "-c", "raise SystemExit(3)"])
