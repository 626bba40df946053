"""A rare class: is it better to weigh it, or to choose a threshold?

python -m experiments.field.rare SET --seeds 0 1 2

Prints of the rarer class of two, on the test part: average precision, which needs no
threshold, and F1 and macro-F1 of the likeliest label and at the threshold with the best
F1 on validation, as `gpt2-jax threshold --best-f1` chooses it. The runs are those of
`experiments.field.run`, with the lexical part.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from experiments.field.recipes import config_of
from experiments.field.run import STUDY
from experiments.field.sets import data_of
from experiments.study.runs import run_once
from experiments.study.spec import Setting
from gpt2_jax.evaluation.curves import average_precision
from gpt2_jax.evaluation.decision import choose_best_f1
from gpt2_jax.evaluation.statistics import summarize
from gpt2_jax.storage.sealed import read_json
from gpt2_jax.workdir.memo import Memo
from gpt2_jax.workdir.predictions import PREDICTIONS

METRICS = (
    "average precision",
    *("F1, likeliest label", "macro-F1"),
    *("F1, threshold by validation", "macro-F1"),
)


def f1(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return the F1 of booleans [N]; 0 where nothing is found."""
    hits = 2 * (predicted & true).sum()
    return float(hits / max(predicted.sum() + true.sum(), 1))


def read(path: Path, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of `label` [N], and whether it is true [N]."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scores = np.asarray([float(row[f"p_{label}"]) for row in rows])
    return scores, np.asarray([row["label"] == label for row in rows])


def measure_rare(run: Path) -> tuple[float, ...]:
    """Return `METRICS` of a run with a class that is told of."""
    positive = read_json(run / "results.json")["test"]["positive"]
    scores, true = read(run / PREDICTIONS["test"], positive)
    threshold = choose_best_f1(*read(run / PREDICTIONS["validation"], positive)).value
    found = [average_precision(scores, true) or 0.0]
    for named in (scores > 0.5, scores >= threshold):
        of_rare = f1(named, true)
        found += [of_rare, (of_rare + f1(~named, ~true)) / 2]
    return tuple(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", metavar="SET")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("checkpoints/field"))
    arguments = parser.parse_args()
    print(f"| recipe | {' | '.join(METRICS)} |\n|{'---|' * (1 + len(METRICS))}")
    for recipe in ("default", "weights"):
        setting = Setting(recipe, config_of(recipe, data_of(arguments.set)))
        found, memo = [], Memo()
        for seed in arguments.seeds:
            row = run_once(STUDY, setting, seed, arguments.workdir, memo=memo)
            found.append(measure_rare(arguments.workdir / row.run))
        shown = [str(summarize(values)) for values in 100 * np.transpose(found)]
        print(f"| {recipe} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
