"""The table of chapter 6's additional experiments, over seeds.

python -m experiments.head_tuning.run --weights mini --seeds 0 1 2 3 4 --split book
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from experiments import baselines
from experiments.study.command import main
from experiments.study.spec import Setting, Study
from gpt2_jax.config import FINETUNE_PRESETS, PRESETS, FinetuneConfig

BOOK = FINETUNE_PRESETS["book"]
SPLITS: dict[str, dict[str, Any]] = {
    "book": {},
    "additional": {"book_split": "additional"},
    "unseen": {"unseen": True},  # the book's, without test texts that stand in train
}
# What LLMs-from-scratch prints for 124M: one seed, 300 texts, `additional`.
PRINTED = {
    "1": 95.00,
    "2": 75.00,
    "3": 72.00,
    "4": 98.33,
    "5": 96.67,
    "6": 84.67,
    "7": 96.67,
    "8": 98.33,
    "9": 98.67,
    "10": 93.67,
    "11b": 96.67,
    "12b": 98.33,
    "13": 78.33,
    "14": 98.00,
    "15": 98.33,
    "16": 98.33,
    "17": 95.33,
    "18": 95.00,
    "19": 96.33,
}


def rows(weights: str, data: dict[str, Any]) -> list[Setting]:
    """Return the 19 rows and what we add to them, each the book's settings but one."""

    def row(key: str, name: str, needs: str = "", **changes: Any) -> Setting:
        fields = {field.name for field in dataclasses.fields(FinetuneConfig)}
        whole = {k: v for k, v in changes.items() if k in fields}
        train = {k: v for k, v in changes.items() if k not in fields}
        config = dataclasses.replace(
            BOOK,
            **{"weights": weights} | whole,
            data=dataclasses.replace(BOOK.data, **data),
            train=dataclasses.replace(BOOK.train, **train),
        )
        printed = f"{PRINTED[key]:.2f}" if key in PRINTED else ""
        return Setting(name, config, key=key, needs=needs, note=printed)

    def size(key: str, name: str, **changes: Any) -> Setting:
        needs = f"the released {changes['weights']}, --rows {key}"
        return row(key, name, needs, **changes)

    everything, lora = ("all",), ("lora",)
    return [
        row("1", "as the book: last token, last block"),
        row("2", "first token", pool="first"),
        row("3", "last layer", trainable=("head",)),
        row("4", "last two blocks", trainable=("last_two_blocks",)),
        row("5", "all layers", trainable=everything),
        size("6", "355M", weights="355M"),
        size("7", "774M", weights="774M"),
        size("8", "1558M", weights="1558M"),
        size("9", "1558M, all layers", weights="1558M", trainable=everything),
        row(
            "10",
            "random weights, all layers",
            "" if weights in PRESETS else "--weights with the name of a size",
            weights=f"random:{weights}",
            trainable=everything,
        ),
        row("11", "LoRA, rank 16, alpha 16", trainable=lora),
        # The book multiplies its adapters by alpha, we by alpha / rank, as the paper.
        row("11b", "LoRA, rank 16, alpha 256", lora_alpha=256.0, trainable=lora),
        size(
            "12",
            "1558M, LoRA, alpha 8",
            weights="1558M",
            lora_alpha=8.0,
            trainable=lora,
        ),
        size(
            "12b",
            "1558M, LoRA, alpha 128",
            weights="1558M",
            lora_alpha=128.0,
            trainable=lora,
        ),
        row("13", "padded to 1,024 tokens", max_length=1024),
        row("14", "no padding, batches of 1", pool="last_real", batch_size=1),
        row("15", "no padding, 8 pieces of 1", pool="last_real", accumulate=8),
        row("16", "last real token", pool="last_real"),
        row("17", "no causal mask", causal=False),
        row("18", "ignore index"),
        row("19", "mean over the text", pool="mean"),
    ]


def build(arguments: argparse.Namespace) -> Study:
    weights, split = arguments.weights, arguments.split
    return Study(
        name="head_tuning",
        title=f"What to tune, and which token to read: {weights}, split {split}",
        question="The rows of chapter 6's additional experiments in Build a Large "
        "Language Model (From Scratch), each over several seeds.",
        settings=tuple(rows(weights, SPLITS[split])),
        command="python -m experiments.head_tuning.run "
        f"--weights {weights} --split {split}",
        beside=baselines.accuracies,
        note_label="the book's repository: 124M, one seed, split additional",
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", default="mini", metavar="W")
    parser.add_argument("--split", choices=list(SPLITS), default="book")


if __name__ == "__main__":
    main(build, add_flags)
