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
    _, small, _ = measured([sys.executable, "-c", "pass"])
    held_long = "import time; x = b'1' * 100_000_000; time.sleep(0.5)"
    _, large, own = measured([sys.executable, "-c", held_long])
    assert small < 100 and 90 < large - small < 110
    assert 90 < own < large


def test_pages_of_a_file_are_not_the_processes_own(tmp_path):
    (tmp_path / "file").write_bytes(b"1" * 100_000_000)
    reads = (
        "import mmap, sys, time; file = open(sys.argv[1], 'r+b'); "
        "x = mmap.mmap(file.fileno(), 0); sum(x[::4096]); time.sleep(0.5)"
    )
    _, peak, own = measured([sys.executable, "-c", reads, str(tmp_path / "file")])
    assert peak - own > 90


def test_a_command_that_fails_ends_the_benchmark():
    with pytest.raises(SystemExit, match="exit code 3"):
        measured([sys.executable, "-c", "raise SystemExit(3)"])
