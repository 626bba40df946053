"""A sweep that is killed at random ends with the table of the undisturbed one.

python -m experiments.benchmarks.sweep_kills --kills 20 -- --data demo --epochs 1 \
    --seeds 0-3 --grid train.learning_rate=3e-4,1e-3
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

TABLES = ("table.md", "sweep.json", "results.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("flags", nargs="+", metavar="FLAG", help="of gpt2-jax sweep")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        run_sweep(arguments.flags, folder / "whole")
        seconds = time.perf_counter() - started
        killed = kill_sweep(
            arguments.flags, folder / "killed", arguments.kills, longest=seconds / 4
        )
        same = tables(folder / "whole") == tables(folder / "killed")
    print(f"killed {killed} times; the same tables: {'yes' if same else 'NO'}")
    sys.exit(not same)


def kill_sweep(
    flags: Sequence[str], workdir: Path, kills: int, longest: float, seed: int = 0
) -> int:
    """Kill a sweep after up to `longest` seconds, again and again; then let it end.

    SIGKILL and SIGTERM take turns. Returns how often it was still going.
    """
    random, killed = np.random.default_rng(seed), 0
    for number in range(kills):
        process = start_sweep(flags, workdir)
        try:
            process.wait(timeout=random.uniform(0.1, longest))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM if number % 2 else signal.SIGKILL)
            process.wait()
            killed += 1
    run_sweep(flags, workdir)
    return killed


def run_sweep(flags: Sequence[str], workdir: Path) -> None:
    if start_sweep(flags, workdir).wait():
        raise RuntimeError(f"the sweep in {workdir} failed")


def start_sweep(flags: Sequence[str], workdir: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gpt2_jax", "sweep", *flags]
    return subprocess.Popen(
        [*command, "--workdir", str(workdir)],
        stdout=subprocess.DEVNULL,
        env=os.environ,
    )


def tables(workdir: Path) -> dict[str, object]:
    """Return the tables of a sweep, without the seconds."""
    found: dict[str, object] = {name: (workdir / name).read_bytes() for name in TABLES}
    with (workdir / "results.csv").open(newline="", encoding="utf-8") as file:
        found["results.csv"] = [row[:-1] for row in csv.reader(file)]
    return found


if __name__ == "__main__":
    main()
