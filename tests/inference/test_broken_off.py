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


@pytest.mark.fault(1)
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
    subprocess.run(_command(tmp_path, whole), check=True, env=environment)
    answers = map(json.loads, whole.read_text().splitlines())
    assert [answer["id"] for answer in answers] == list(range(_LINES))
    for _ in range(3):
        process = subprocess.Popen(
            [*_command(tmp_path, broken), "--resume"], env=environment
        )
        sizes = range(1, whole.stat().st_size)
        _wait_for(broken, chance.choice(sizes), process)
        process.kill()
        assert process.wait() in (0, -9)
        if broken.exists():  # a kill inside a write leaves half a line
            os.truncate(
                broken, max(0, broken.stat().st_size - chance.randrange(1, 200))
            )
    assert broken.read_bytes() != whole.read_bytes()
    subprocess.run(
        [*_command(tmp_path, broken), "--resume"], check=True, env=environment
    )
    assert broken.read_bytes() == whole.read_bytes()


def _wait_for(path: Path, size: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        if path.exists() and path.stat().st_size >= size:
            return
        time.sleep(0.002)


@pytest.mark.fault(38)
@pytest.mark.slow
def test_a_line_of_ten_megabytes_takes_bounded_time_and_memory(tmp_path):
    random_run(tmp_path / "run")
    words = "free prize now " * 700_000
    lines = [json.dumps({"text": text}) for text in ("short", words, "a" * 10**7)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    started = time.monotonic()
    command = _command(tmp_path, tmp_path / "out.jsonl")
    code = (
        "import pathlib, re, sys, gpt2_jax.cli.main\n"
        "assert gpt2_jax.cli.main.main(sys.argv[1:]) == 0\n"
        # ru_maxrss would be that of the process which started this one, if larger
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) >> 10)"
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
