"""IMDb reviews: GPT-2 with all layers trained, beside logistic regression.

    python -m experiments.imdb.run --texts 1000 250 500 --max-length 256 --seeds 0

takes that many reviews of each part; without --texts all of them. `--split book` is the
book's: both parts shuffled together, 35,000 train, 5,000 validate, 10,000 test.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from experiments import baselines
from experiments.parts import write_parts
from experiments.study.command import main
from experiments.study.spec import Setting, Study
from gpt2_jax.config import DataConfig, FinetuneConfig, TrainConfig
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.parts import PARTS
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.tokenizer import decode, encode

BOOK_SIZES = (35_000, 5_000)  # the rest tests
SEED = 123


def book_rows(count: int) -> list[np.ndarray]:
    """Cut two random permutations into the three parts.

    LLMs-from-scratch ch06/03 shuffles with pandas' `sample(random_state=123)`, twice:
    with the rows in the archive's order, these are its rows.
    """
    first = np.random.RandomState(SEED).permutation(count)
    rows = first[np.random.RandomState(SEED).permutation(count)]
    return np.split(rows, np.cumsum(BOOK_SIZES))


def official_rows(dataset: Dataset) -> list[np.ndarray]:
    """Shuffle the parts that are given; validation is cut from the training part."""
    random = np.random.default_rng(SEED)
    split = split_dataset(dataset, DataConfig(source="imdb"))
    return [random.permutation(rows) for rows in split.parts().values()]


def beside(config: FinetuneConfig, seed: int) -> dict[str, dict[str, float]]:
    """Return the baselines' accuracies on what the model reads, and on all of it."""
    whole = baselines.parts_of(config)
    read = {
        part: ([decode(encode(t)[: config.max_length]) for t in texts], labels)
        for part, (texts, labels) in whole.items()
    }
    majority = baselines.NAMES["majority"]
    on_read = baselines.accuracies_on(read, seed)
    on_whole = baselines.accuracies_on(whole, seed)
    return on_read | {
        f"{name}, whole reviews": numbers
        for name, numbers in on_whole.items()
        if name != majority
    }


def build(arguments: argparse.Namespace) -> Study:
    dataset = load_dataset(DataConfig(source="imdb"))
    book = arguments.split == "book"
    parts = book_rows(len(dataset.texts)) if book else official_rows(dataset)
    limits = arguments.texts or [len(rows) for rows in parts]
    taken = [rows[:limit] for rows, limit in zip(parts, limits, strict=True)]
    folder = arguments.workdir or Path("checkpoints") / "imdb"
    sizes = [len(rows) for rows in taken]
    name = f"{arguments.split}-{'-'.join(map(str, sizes))}.csv"
    data = write_parts(
        folder / "data" / name, dataset, dict(zip(PARTS, taken, strict=True))
    )
    settings = tuple(
        Setting(
            f"--trainable {trainable}",
            FinetuneConfig(
                weights=arguments.weights,
                data=data,
                train=TrainConfig(
                    trainable=(trainable,),
                    epochs=arguments.epochs,
                    batch_size=arguments.batch_size,
                    learning_rate=arguments.learning_rate,
                ),
                max_length=arguments.max_length,
                dtype=arguments.dtype,
            ),
        )
        for trainable in arguments.trainable
    )
    shown = " ".join(map(str, sizes))
    return Study(
        name="imdb",
        title=f"IMDb reviews: {arguments.weights}, split {arguments.split}",
        question=f"Test accuracy on {sizes[2]:,} reviews after training on "
        f"{sizes[0]:,}, cut after {arguments.max_length} tokens; epochs: "
        f"{arguments.epochs}.",
        settings=settings,
        command=f"python -m experiments.imdb.run --split {arguments.split} --texts "
        f"{shown} --max-length {arguments.max_length} --weights {arguments.weights} "
        f"--trainable {' '.join(arguments.trainable)} --epochs {arguments.epochs} "
        f"--learning-rate {arguments.learning_rate:g} "
        f"--batch-size {arguments.batch_size} --dtype {arguments.dtype}",
        metrics={"test": "test accuracy (%)"},
        beside=beside,
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--split", choices=("official", "book"), default="official")
    add("--texts", type=int, nargs=3, metavar=("TRAIN", "VALIDATION", "TEST"))
    add("--max-length", type=int, default=256, help="tokens; the rest is cut off")
    add("--weights", default="mini")
    add("--trainable", nargs="+", default=["all", "last_block"])
    add("--epochs", type=int, default=1)
    add("--learning-rate", type=float, default=5e-4)
    add("--batch-size", type=int, default=8)
    add("--dtype", default="float32", choices=("float32", "bfloat16"))


if __name__ == "__main__":
    main(build, add_flags)
