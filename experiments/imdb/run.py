"""IMDb reviews: GPT-2 with all layers trained, beside logistic regression.

    python -m experiments.imdb.run --texts 1000 250 500 --max-length 256

takes that many reviews of each part; without --texts all of them. `--split book` is the
book's: both parts shuffled together, 35,000 train, 5,000 validate, 10,000 test.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.over_seeds import table
from gpt2_jax.config import DataConfig, FinetuneConfig, TrainConfig
from gpt2_jax.data.sources import Dataset, load_dataset
from gpt2_jax.data.split import split_dataset

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


def write_parts(
    dataset: Dataset, parts: Sequence[np.ndarray], limits: Sequence[int], folder: Path
) -> None:
    """Write the first of the rows of each part as a file that `--data` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("train", "validation", "test")
    for name, rows, limit in zip(names, parts, limits, strict=True):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for row in rows[:limit]:
                label = dataset.classes[dataset.labels[row]]
                line = {"text": dataset.texts[row], "label": label}
                file.write(json.dumps(line) + "\n")


def words_accuracy(folder: Path) -> tuple[float, float]:
    """Return the test accuracy of the majority, and of regression on words' TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    def read(name: str) -> tuple[list[str], list[str]]:
        lines = (folder / f"{name}.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [row["text"] for row in rows], [row["label"] for row in rows]

    (texts, labels), (test_texts, test_labels) = read("train"), read("test")
    most = max(sorted(set(labels)), key=labels.count)
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    accuracy = pipeline.fit(texts, labels).score(test_texts, test_labels)
    return test_labels.count(most) / len(test_labels), float(accuracy)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--split", choices=("official", "book"), default="official")
    add("--texts", type=int, nargs=3, metavar=("TRAIN", "VALIDATION", "TEST"))
    add("--max-length", type=int, default=256, help="tokens; the rest is cut off")
    add("--weights", default="mini")
    add("--trainable", nargs="+", default=["all", "last_block"])
    add("--learning-rate", type=float, default=5e-4)
    add("--batch-size", type=int, default=8)
    add("--dtype", default="float32", choices=("float32", "bfloat16"))
    add("--seeds", type=int, nargs="+", default=[0])
    add("--workdir", type=Path, default=Path("checkpoints/imdb"), metavar="DIR")
    arguments = parser.parse_args()
    folder = arguments.workdir / "data"
    dataset = load_dataset(DataConfig(source="imdb"))
    book = arguments.split == "book"
    parts = book_rows(len(dataset.texts)) if book else official_rows(dataset)
    limits = arguments.texts or [len(rows) for rows in parts]
    write_parts(dataset, parts, limits, folder)
    settings = {
        f"--trainable {trainable}": FinetuneConfig(
            weights=arguments.weights,
            data=DataConfig(source=str(folder), balance="none"),
            train=TrainConfig(
                trainable=(trainable,),
                epochs=1,
                batch_size=arguments.batch_size,
                learning_rate=arguments.learning_rate,
            ),
            max_length=arguments.max_length,
            dtype=arguments.dtype,
        )
        for trainable in arguments.trainable
    }
    print(*table(settings, arguments.seeds, arguments.workdir), sep="\n")
    majority, words = words_accuracy(folder)
    print(f"\nmajority {100 * majority:.2f}, words TF-IDF + LR {100 * words:.2f}")


if __name__ == "__main__":
    main()
