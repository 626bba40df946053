"""What do runs of the book's split score on the test texts that they never read?

python -m experiments.head_tuning.unseen --workdir checkpoints/head_tuning

`--split unseen` trains on the same texts as `--split book`, and the last parameters are
kept: a run of the one is a run of the other, tested on fewer texts. So what the runs of
`book` predicted (predictions.csv in the workdir) is counted once more, without the test
texts that also stand in train.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.head_tuning.run import SPLITS, rows
from experiments.study.runs import folder_of
from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.errors import UserError
from gpt2_jax.evaluation.statistics import summarize


def unseen_texts(book: DataConfig, unseen: DataConfig) -> tuple[list[str], np.ndarray]:
    """Return the test texts of the book's split, and which of them are `unseen` [N]."""
    dataset = load_dataset(book)
    of_book, of_unseen = (
        split_dataset(dataset, data).parts()["test"] for data in (book, unseen)
    )
    return [dataset.texts[row] for row in of_book], np.isin(of_book, of_unseen)


def read_correct(path: Path, texts: Sequence[str]) -> np.ndarray:
    """Return which predictions are right [N].

    Raises:
        ValueError: they are of other texts.
    """
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    if [line["text"] for line in lines] != list(texts):
        raise ValueError(f"{path}: not the test texts of the book's split")
    return np.asarray([line["predicted"] == line["label"] for line in lines])


def table(weights: str, workdir: Path) -> list[str]:
    """Return a line for each row whose runs of the book's split left predictions.

    Raises:
        ValueError: none did, or they are of other texts.
    """
    book, unseen = (rows(weights, SPLITS[s]) for s in ("book", "unseen"))
    texts, kept = unseen_texts(book[0].config.data, unseen[0].config.data)
    lines = []
    for setting in book:
        pattern = f"{folder_of(setting.config)}-seed*/predictions.csv"
        paths = sorted(workdir.glob(pattern))
        if not paths:
            continue
        correct = [read_correct(path, texts)[kept] for path in paths]
        found = summarize([100 * float(each.mean()) for each in correct])
        cells = (setting.key, setting.name, found, found.interval, len(paths))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    if not lines:
        raise ValueError(f"{workdir}: no predictions.csv of a run of the book's split")
    head = "| row | setting | test accuracy (%) | 95% interval | seeds |"
    return [head, "| --- | --- | --- | --- | --- |", *lines]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="mini", metavar="W")
    parser.add_argument("--workdir", type=Path, default=Path("checkpoints/head_tuning"))
    arguments = parser.parse_args(argv)
    try:
        lines = table(arguments.weights, arguments.workdir)
    except (ValueError, UserError) as error:
        parser.error(str(error))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
