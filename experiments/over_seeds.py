"""Runs of named settings over seeds, and the Markdown table of their accuracies."""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2_jax import finetune
from gpt2_jax.config import FinetuneConfig

Settings = Mapping[str, FinetuneConfig]


def result(config: FinetuneConfig, seed: int, run: Path) -> dict[str, Any]:
    """Return results.json of one run, which is made if it is not there."""
    if (run / "results.json").is_file():
        return json.loads((run / "results.json").read_text("utf-8"))
    train = dataclasses.replace(config.train, seed=seed)
    config = dataclasses.replace(config, train=train)
    return finetune(config, run, resume=(run / "config.json").is_file())


def table(settings: Settings, seeds: Sequence[int], workdir: Path) -> list[str]:
    """Return a line of the table for each of `settings`, in percent."""
    lines = [
        "| settings | validation, mean | test, each seed | test, mean ± sd | "
        "TF-IDF + LR | seconds, median |",
        "|---|---|---|---|---|---|",
    ]
    for number, (name, config) in enumerate(settings.items()):
        runs = [
            result(config, seed, workdir / f"{number}-seed{seed}") for seed in seeds
        ]
        test = [100 * run["accuracy"]["test"] for run in runs]
        validation = [100 * run["accuracy"]["validation"] for run in runs]
        spread = statistics.stdev(test) if len(test) > 1 else 0.0
        baseline = runs[0]["baselines"]["tfidf_logreg"]
        seconds = statistics.median(run["seconds"]["total"] for run in runs)
        cells = [
            f"`{name}`",
            f"{statistics.mean(validation):.2f}",
            ", ".join(f"{accuracy:.2f}" for accuracy in test),
            f"{statistics.mean(test):.2f} ± {spread:.2f}",
            "not measured" if baseline is None else f"{100 * baseline:.2f}",
            f"{seconds:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main(settings: Settings, study: str) -> None:
    """Parse --seeds and --workdir, and print the table of `settings`."""
    parser = argparse.ArgumentParser(prog=f"python -m experiments.{study}.run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--workdir",
        type=Path,
        default=Path("checkpoints") / study,
        metavar="DIR",
        help="finished runs that are there are read, not repeated",
    )
    arguments = parser.parse_args()
    print(*table(settings, arguments.seeds, arguments.workdir), sep="\n")
