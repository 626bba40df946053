"""How much sooner a run starts whose compilation cache `--compile-only` has filled.

    python experiments/benchmarks/cold_start.py --turns 2 -- --weights mini

Runs in turn, whole processes: with an empty cache; `--compile-only`; with the cache
that this has filled. What stands behind `--` are flags of `gpt2-jax finetune`. Prints a
row of Markdown for each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEADER = """| run | to step 1, s | in all, s | CPU s | compiler, s | found, compiled |
|---|---|---|---|---|---|"""


def cpu_seconds() -> float:
    """Return the seconds of both cores of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(name: str, cache: str, flags: list[str]) -> str:
    """Run `finetune`; return its row."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "gpt2_jax", "finetune", "--quiet", *flags]
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
        started, before, first = time.perf_counter(), cpu_seconds(), ""
        process = subprocess.Popen(
            [*command, "--workdir", str(run)],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        log = run / "metrics.jsonl"
        while process.poll() is None:
            if not first and log.is_file() and log.stat().st_size:
                first = f"{time.perf_counter() - started:.1f}"
            time.sleep(0.02)
        if process.returncode:
            sys.exit(f"exit code {process.returncode}: {' '.join(command)}")
        cells = [name, first, f"{time.perf_counter() - started:.1f}"]
        cells.append(f"{cpu_seconds() - before:.1f}")
        if (run / "results.json").is_file():
            results = json.loads((run / "results.json").read_text())
            cells.append(f"{results['seconds']['compile']:.1f}")
            cells.append("{hits}, {misses}".format(**results["compilation_cache"]))
        else:
            cells += ["", ""]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("flags", nargs="*", help="of finetune, behind --")
    arguments = parser.parse_args()
    flags: list[str] = arguments.flags
    print(HEADER)
    for _ in range(arguments.turns):
        with (
            tempfile.TemporaryDirectory() as empty,
            tempfile.TemporaryDirectory() as ahead,
        ):
            print(timed("empty cache", empty, flags), flush=True)
            print(timed("--compile-only", ahead, [*flags, "--compile-only"]))
            print(timed("filled ahead", ahead, flags), flush=True)
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"\n{os.cpu_count()} cores, load {load}")


if __name__ == "__main__":
    main()
