"""Ours and each peer in turn, whole processes, in one run.

    GPT2_JAX_DATA=... python experiments/benchmarks/peers.py --repeats 5
    ... --weights 124M --dtype bfloat16 --job book all predict --peers chapter-6 \
        chapter-6-all transformers-compiled transformers-compiled-all sorted

needs the extra `torch` beside the package; the second is for a GPU. A process's time
is from after its imports to its end, our compilation included; `cold` has an empty
compilation cache, `warm` one that an earlier process filled. Writes a Markdown table
and the raw times to `results/`.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Job -> (row, job, cache); a row without a cache is a peer's, a job of torch_jobs.py,
# all others are of jobs.py.
ROWS = {
    "book": (
        ("gpt2_jax --preset book, cold", "ours-book", "cold"),
        ("gpt2_jax --preset book, warm", "ours-book", "warm"),
        ("chapter 6's loop (PyTorch)", "chapter-6", None),
        ("transformers, eager", "transformers", None),
        ("transformers, bf16, compiled before", "transformers-compiled", None),
    ),
    "all": (
        ("gpt2_jax --preset book --trainable all, cold", "ours-all", "cold"),
        ("gpt2_jax --preset book --trainable all, warm", "ours-all", "warm"),
        ("chapter 6's loop (PyTorch), all layers", "chapter-6-all", None),
        (
            "transformers, bf16, compiled before, all layers",
            "transformers-compiled-all",
            None,
        ),
    ),
    "default": (
        ("gpt2_jax, cold", "ours-default", "cold"),
        ("gpt2_jax, warm", "ours-default", "warm"),
        ("chapter 6's loop (PyTorch)", "chapter-6", None),
    ),
    "predict": (
        ("gpt2_jax predict, cold", "ours-predict", "cold"),
        ("gpt2_jax predict, warm", "ours-predict", "warm"),
        ("transformers.pipeline, batch_size=64", "pipeline", None),
        ("transformers, bf16, sorted by length", "sorted", None),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="mini", help="mini, or a file or folder")
    parser.add_argument("--dtype", default="float32", help="of our matmuls")
    jobs_of_cpu = ["book", "default", "predict"]
    parser.add_argument("--job", nargs="+", choices=[*ROWS], default=jobs_of_cpu)
    parser.add_argument("--repeats", type=int, default=5)
    peers = [job for rows in ROWS.values() for _, job, cache in rows if cache is None]
    peers_of_cpu = ["chapter-6", "transformers", "pipeline"]
    parser.add_argument("--peers", nargs="*", choices=peers, default=peers_of_cpu)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    jobs: list[str] = arguments.job
    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        if "predict" in jobs:
            run_job("jobs.py", "save-classifier", arguments, Path(folder), None)
        for _ in range(arguments.repeats):
            for name, job, cache in distinct_rows(jobs):
                if cache is None and job not in arguments.peers:
                    continue
                script = "torch_jobs.py" if cache is None else "jobs.py"
                run = run_job(script, job, arguments, Path(folder), cache)
                runs.setdefault(f"{job} {cache}", []).append(run)
                print(f"{name}: {run['seconds']:.1f} s", file=sys.stderr, flush=True)
    facts = machine()
    facts["device"] += "".join(
        f", {name}"
        for name in sorted({r["device"] for some in runs.values() for r in some})
    )
    report = {
        "machine": facts,
        "weights": arguments.weights,
        "dtype": arguments.dtype,
        "runs": runs,
    }
    table = render(jobs, runs, facts, arguments)
    print(table)
    arguments.output.mkdir(parents=True, exist_ok=True)
    name = "-".join(["peers", Path(arguments.weights).name, *jobs])
    stem = arguments.output / name
    stem.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    stem.with_suffix(".md").write_text(table + "\n")


def distinct_rows(jobs: list[str]) -> list[tuple[str, str, str | None]]:
    """Return the rows of all jobs; a peer of two jobs runs once per repeat."""
    rows = {
        (job, cache): (name, job, cache) for j in jobs for name, job, cache in ROWS[j]
    }
    return list(rows.values())


def run_job(
    script: str,
    job: str,
    arguments: argparse.Namespace,
    folder: Path,
    cache: str | None,
) -> dict[str, Any]:
    command = [sys.executable, str(HERE / script), job, "--folder", str(folder)]
    command += ["--weights", arguments.weights, "--dtype", arguments.dtype]
    environment = dict(os.environ)
    if cache is not None:
        programs = tempfile.mkdtemp(dir=folder) if cache == "cold" else folder / job
        environment["JAX_COMPILATION_CACHE_DIR"] = str(programs)
        command.append("--cache")
        if cache == "warm" and not Path(programs).exists():
            subprocess.run(command, env=environment, check=True, capture_output=True)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict[str, str]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if "model name" in x), cpu)
    commit = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    packages = ("jax", "flax", "optax", "torch", "transformers", "llms-from-scratch")
    return {
        "device": f"{os.cpu_count()} x {cpu}",
        "commit": commit or "unknown",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "load": " ".join(f"{x:.1f}" for x in os.getloadavg()),
        "date": datetime.date.today().isoformat(),
    }


def render(
    jobs: list[str],
    runs: dict[str, list[dict[str, Any]]],
    machine: dict[str, str],
    arguments: argparse.Namespace,
) -> str:
    """Return the Markdown table; ratios are of medians, to each peer of the job."""
    head = ["job", "seconds, median (range)", "peak memory, host", "device"]
    lines = [f"| {' | '.join(head)} | faster than |", "|---" * 5 + "|"]
    for job in jobs:
        found = {
            name: runs[key]
            for name, target, cache in ROWS[job]
            if (key := f"{target} {cache}") in runs
        }
        medians = {
            name: statistics.median(run["seconds"] for run in some)
            for name, some in found.items()
        }
        peers = [name for name, _, cache in ROWS[job] if cache is None]
        for name, some in found.items():
            seconds = [run["seconds"] for run in some]
            peak = max(run["peak_bytes"] for run in some) / 1e9
            on_device = [b for run in some if (b := run["device_peak_bytes"])]
            of_device = f"{max(on_device) / 1e9:.2f} GB" if on_device else ""
            ratios = [
                f"{medians[peer] / medians[name]:.1f}x {peer}"
                for peer in peers
                if peer in medians and name not in peers
            ]
            lines.append(
                f"| {name} | {medians[name]:.1f} ({min(seconds):.1f} to "
                f"{max(seconds):.1f}) | {peak:.2f} GB | {of_device} | "
                f"{'; '.join(ratios)} |"
            )
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n".join(
        [
            *lines,
            "",
            f"Weights {arguments.weights}, {arguments.dtype}, n={arguments.repeats}; "
            f"{facts}.",
        ]
    )


if __name__ == "__main__":
    main()
