"""What many runs cost in seconds of one.

python -m experiments.benchmarks.sweep --data sms-spam

Every command is a process of its own with an empty cache of compiled programs, and so
pays for all that it compiles.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

RATES = "train.learning_rate=3e-4,1e-3,3e-3"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="sms-spam")
    parser.add_argument("--repeats", type=int, default=1, help="the least is told")
    parser.add_argument("--only", nargs="+", choices=[*COMMANDS], default=[*COMMANDS])
    arguments = parser.parse_args()
    common = ["--data", arguments.data, "--balance", "undersample"]
    common += ["--trainable", "last_block"]
    one = measured(["finetune", *common], arguments.repeats)
    print("| command | seconds | of one run | CPU seconds | of one run | at most |")
    print("|---|---|---|---|---|---|")
    print(f"| one run | {one.wall:.1f} | 1 | {one.cpu:.1f} | 1 | |", flush=True)
    for name in arguments.only:
        command, most = COMMANDS[name]
        took = measured([*command, *common], arguments.repeats)
        print(
            f"| {name} | {took.wall:.1f} | {took.wall / one.wall:.2f} | "
            f"{took.cpu:.1f} | {took.cpu / one.cpu:.2f} | {most} |",
            flush=True,
        )


COMMANDS = {
    "ten seeds at three rates": (["sweep", "--seeds", "0-9", "--grid", RATES], 6),
    "five folds twice": (["cv", "--folds", "5", "--repeats", "2"], 4),
}


class Seconds(NamedTuple):
    wall: float
    cpu: float  # of all cores together: what others do on them counts less


def measured(command: list[str], repeats: int) -> Seconds:
    """Return the least seconds that a command of gpt2-jax takes."""
    return min(_measure_once(command) for _ in range(repeats))


def _measure_once(command: list[str]) -> Seconds:
    folder = Path(tempfile.mkdtemp(prefix="sweep-"))
    try:
        here = {"JAX_COMPILATION_CACHE_DIR": str(folder / "programs")}
        argv = [sys.executable, "-m", "gpt2_jax", *command]
        started, before = time.perf_counter(), _cpu()
        subprocess.run(
            [*argv, "--workdir", str(folder / "run")],
            env={**os.environ, **here},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return Seconds(time.perf_counter() - started, _cpu() - before)
    finally:
        shutil.rmtree(folder)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
