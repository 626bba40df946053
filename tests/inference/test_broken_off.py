"""A prediction that was killed is gone on with; huge lines stay bounded."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_helpers import random_run

_LINES = 4 * 4096 + 100  # of five windows


def _command(folder: Path, output: Path) -> list[str]:
    command = [sys.executable, "-m", "gpt2_jax", "predict", str(folder / "run")]
    return [*command, "--file", str(folder / "in.jsonl"), "--output", str(output)]


@pytest.mark.slow
def test_what_was_killed_anywhere_ends_as_what_was_not(tmp_path):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    random_run(tmp_path / "run")
    chance = random.Random()  # another moment each time; any must do
    with (tmp_path / "in.jsonl").open("w") as file:
        for i in range(_LINES):
            text = " ".join(["free prize", "lunch", "mum"][i % 3 :] * (i % 5)) + f" {i}"
            print(json.dumps({"text": text, "id": i}), file=file)
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    started = time.monotonic()
    subprocess.run(_command(tmp_path, whole), check=True, env=environment)
    seconds = time.monotonic() - started
    answers = map(json.loads, whole.read_text().splitlines())
    assert [answer["id"] for answer in answers] == list(range(_LINES))
    kills = 0
    while broken.read_bytes() != whole.read_bytes() if broken.exists() else True:
        process = subprocess.Popen(
            [*_command(tmp_path, broken), "--resume"], env=environment
        )
        try:
            wait = chance.uniform(0.3, 1.1) * seconds if kills < 3 else None
            assert process.wait(wait) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            if broken.exists():  # a kill inside a write leaves half a line
                with broken.open("r+b") as file:
                    size = file.seek(0, os.SEEK_END)
                    file.truncate(max(0, size - chance.randrange(200)))
    assert kills


@pytest.mark.slow
def test_a_line_of_ten_megabytes_takes_bounded_time_and_memory(tmp_path):
    random_run(tmp_path / "run")
    words = "free prize now " * 700_000
    lines = [json.dumps({"text": text}) for text in ("short", words, "a" * 10**7)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    started = time.monotonic()
    command = _command(tmp_path, tmp_path / "out.jsonl")
    code = (
        "import resource, sys, gpt2_jax.cli\n"
        "assert gpt2_jax.cli.main(sys.argv[1:]) == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command[3:]],
        check=True,
        capture_output=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert time.monotonic() - started < 60
    answers = (tmp_path / "out.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in answers]
    assert [row["truncated"] for row in rows] == [False, True, True]
    assert rows[1]["n_tokens"] > 2_000_000
    assert int(done.stdout) < 1500  # MiB, of which JAX takes a few hundred
