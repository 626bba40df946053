"""Does label-errors find labels that were flipped?

python -m experiments.label_errors.run sms-spam FOLDER/banking77/train.csv --epochs 2

A share of the labels is flipped at random; of the labels that are told first, how many
are flipped ones? All flags of TrainConfig that matter for the time are there.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from gpt2_jax.config import DataConfig, FinetuneConfig, TrainConfig
from gpt2_jax.config.sweep import SweepConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.engine.compilation import keep_compiled_programs
from gpt2_jax.evaluation.label_errors import probable_errors
from gpt2_jax.sweeps.folds import cross_validate, out_of_fold

FIRST = 50  # labels that a person would look at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", metavar="DATA")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument(
        "--lexical", action=argparse.BooleanOptionalAction, default=True
    )
    parser.add_argument(
        "--workdir", type=Path, default=Path("checkpoints/label_errors")
    )
    arguments = parser.parse_args()
    keep_compiled_programs()
    print("| data | texts | flipped | found | of them flipped | of the first 50 |")
    print("|---|---|---|---|---|---|")
    for source in arguments.sources:
        name = f"{Path(source).parent.name}-{Path(source).stem}".strip("-")
        folder = arguments.workdir / name
        flipped = write_flipped(source, folder / "flipped.csv", arguments)
        config = FinetuneConfig(
            data=DataConfig(source=str(folder / "flipped.csv"), folds=5),
            train=TrainConfig(epochs=arguments.epochs, batch_size=arguments.batch_size),
            lexical=arguments.lexical,
            baselines="none",
        )
        runs = SweepConfig(keep_models="none")
        swept = cross_validate(config, folder / "runs", runs=runs)
        found = out_of_fold(swept.finished)
        errors = probable_errors(found.probabilities.mean(0), found.labels)
        hits = flipped[found.rows[errors]]
        print(
            f"| {source} | {len(flipped)} | {flipped.sum()} | {len(errors)} | "
            f"{hits.sum()} | {100 * hits[:FIRST].mean():.0f}% |",
            flush=True,
        )


def write_flipped(source: str, path: Path, arguments: argparse.Namespace) -> np.ndarray:
    """Write the texts with some labels flipped; return which rows, bool [N]."""
    dataset = load_dataset(DataConfig(source=source))
    random = np.random.default_rng(arguments.seed)
    rows = np.arange(len(dataset.texts))
    if arguments.limit is not None:
        rows = np.sort(random.choice(rows, min(arguments.limit, len(rows)), False))
    labels, num_classes = np.asarray(dataset.labels)[rows], len(dataset.classes)
    flipped = np.zeros(len(rows), bool)
    chosen = random.choice(len(rows), round(arguments.share * len(rows)), False)
    flipped[chosen] = True
    others = (labels + random.integers(1, num_classes, len(rows))) % num_classes
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row, label in zip(rows, np.where(flipped, others, labels), strict=True):
            writer.writerow([dataset.texts[row], dataset.classes[label]])
    return flipped


if __name__ == "__main__":
    main()
