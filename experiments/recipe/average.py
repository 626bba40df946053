"""Do several runs together test better than each? Their probabilities, averaged.

python -m experiments.recipe.average --workdir checkpoints/recipe

Reads predictions.csv of each setting of the book's split that has several finished
runs in the workdir; one that was taken from results.csv has left none there.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from experiments.recipe.run import STUDY
from experiments.study.runs import folder_of

DATA = "the book's split: "


def read(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return p(spam) [N], whether it is spam [N], and the texts."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    p_spam = np.asarray([float(line["p_spam"]) for line in lines])
    is_spam = np.asarray([line["label"] == "spam" for line in lines])
    return p_spam, is_spam, [line["text"] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, default=Path("checkpoints/recipe"))
    arguments = parser.parse_args()
    every, is_spam, texts = [], np.zeros(0, bool), []
    for setting in STUDY.settings:
        pattern = f"{folder_of(setting.config)}-seed*/predictions.csv"
        paths = sorted(arguments.workdir.glob(pattern))
        if not setting.name.startswith(DATA) or len(paths) < 2:
            continue
        runs = []
        for path in paths:
            p_spam, is_spam, texts = read(path)
            runs.append(p_spam)
        show(setting.name.removeprefix(DATA), np.stack(runs), is_spam)
        every += runs
    if not every:
        parser.error(
            f"{arguments.workdir}: no setting has two runs of the book's split"
        )
    wrong = show("all of these", np.stack(every), is_spam)
    for row in np.flatnonzero(wrong):
        print(f"  {'spam' if is_spam[row] else 'ham '} {texts[row][:70]}")


def show(name: str, runs: np.ndarray, is_spam: np.ndarray) -> np.ndarray:
    """Print the accuracies of `runs` [S, N]; return where their mean is wrong."""
    each = 100 * ((runs > 0.5) == is_spam).mean(axis=1)
    wrong = (runs.mean(axis=0) > 0.5) != is_spam
    print(
        f"{name}: {len(runs)} runs, each {each.mean():.2f}% in the mean, "
        f"together {100 * (1 - wrong.mean()):.2f}%"
    )
    return wrong


if __name__ == "__main__":
    main()
