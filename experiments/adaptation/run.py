"""Does it help to go on with pre-training on texts of the task's own kind?

    python -m experiments.adaptation.run --seeds 0 1 2 3 4 5 6 7 8 9

The base model first learns the language of SMS, from texts without their labels: those
of the training part, or all of the collection that are not of the other two parts.

Sources: Gururangan et al. 2020, "Don't Stop Pretraining"; Howard and Ruder 2018,
"Universal Language Model Fine-tuning for Text Classification".
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments import baselines
from experiments.pretrain.config import PretrainConfig
from experiments.pretrain.export import export
from experiments.pretrain.shard import read_sequences, write_shards
from experiments.pretrain.train import train
from experiments.study.command import main
from experiments.study.spec import ACCURACIES, Setting, Study
from gpt2_jax.config import FINETUNE_PRESETS, DataConfig, FinetuneConfig
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset

BOOK = FINETUNE_PRESETS["book"].data
SPLITS = {
    "book": BOOK,
    "unseen": dataclasses.replace(BOOK, unseen=True),
    "sms-spam": DataConfig(source="sms-spam", balance="undersample"),
    "demo": DataConfig(),
}


@dataclasses.dataclass(frozen=True)
class Base:
    """What mini reads before it is fine-tuned."""

    shown: str  # in the table
    splits: tuple[str, ...]  # to fine-tune on; no text that validates or tests is read
    everything: bool = True  # all other SMS; or the training part of the first split
    epochs: int = 3
    seed: int = 0  # of the order of its texts


BASES = {
    "train": Base("training part", ("book",), everything=False, epochs=5),
    "all": Base("all other SMS", ("book", "unseen", "demo")),
    "all-1": Base("all other SMS, another order", ("book",), seed=1),
    "all-sms-spam": Base("all other SMS", ("sms-spam",)),
}
RATES = {"1e-3": 1e-3, "5e-4": 5e-4, "3e-4": 3e-4}
LENGTH, BATCH = 128, 16
FOLDERS = ("weights", "tokens", "run")  # of each base


def texts_of(base: Base, datasets: Mapping[str, Dataset], sms: Dataset) -> list[str]:
    """Return the texts to learn from, shuffled; none of them validates or tests."""
    parts = {name: split_dataset(datasets[name], SPLITS[name]) for name in base.splits}
    held_out = {
        datasets[name].texts[row]
        for name, split in parts.items()
        for part in ("validation", "test")
        for row in split.parts()[part]
    }
    first = base.splits[0]
    texts = (
        list(sms.texts)
        if base.everything
        else [datasets[first].texts[row] for row in parts[first].parts()["train"]]
    )
    order = np.random.default_rng(base.seed).permutation(len(texts))
    return [texts[i] for i in order if texts[i] not in held_out]


def adapt(name: str, base: Base, texts: list[str], folder: Path) -> Path:
    """Train mini on `texts` as a language model; return its weights.

    What is finished is kept, and what was interrupted goes on.

    Raises:
        ValueError: what is there was made of other texts.
    """
    weights, tokens, run = (folder / f"{name}-{what}" for what in FOLDERS)
    file = folder / f"{name}.jsonl"
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    if tokens.exists() and file.read_text("utf-8") != lines:
        raise ValueError(f"{file}: other texts; move {folder} away")
    if weights.exists():
        return weights
    if not tokens.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(lines, "utf-8")
        write_shards([file], tokens, validation_every=20, shard_tokens=1 << 26)
    sequences = len(read_sequences(tokens, "train", LENGTH))
    steps = max(base.epochs * sequences // BATCH, 1)
    config = PretrainConfig(
        weights="mini",
        length=LENGTH,
        dtype="float32",
        batch_size=BATCH,
        steps=steps,
        optimizer="adamw",
        learning_rate=5e-4,
        weight_decay=0.01,
        warmup_steps=min(10, steps),
        hold=0.0,
        seed=base.seed,
        validate_every=50,
        save_every=50,
    )
    train(config, tokens, run, resume=(run / "config.json").is_file())
    export(run, weights)
    return weights


def validation_loss(run: Path, results: Mapping[str, Any]) -> dict[str, float]:
    """Return it in hundredths of a nat, as a table has two decimals."""
    return {
        "validation_loss": 100 * results["calibration"]["validation"]["loss_before"]
    }


def build(arguments: argparse.Namespace) -> Study:
    folder = (arguments.workdir or Path("checkpoints") / "adaptation") / "bases"
    datasets = {name: load_dataset(data) for name, data in SPLITS.items()}
    sms = load_dataset(DataConfig(source="sms-spam", balance="none"))
    weights = {
        name: str(adapt(name, base, texts_of(base, datasets, sms), folder))
        for name, base in BASES.items()
    }
    default = FinetuneConfig()

    def setting(split: str, rate: str, shown: str, weights: str) -> Setting:
        train = dataclasses.replace(default.train, learning_rate=RATES[rate])
        config = dataclasses.replace(
            default, weights=weights, data=SPLITS[split], train=train
        )
        return Setting(f"{split}: {shown}, learning rate {rate}", config)

    return Study(
        name="adaptation",
        title="Does more pre-training on SMS help?",
        question="Accuracy on SMS Spam, by what the base model has read before it is "
        "fine-tuned: its own corpus only, or SMS without labels too. The rows of one "
        "split share its test part.",
        settings=tuple(
            setting(split, rate, shown, path)
            for split in SPLITS
            for rate in RATES
            for shown, path in [
                ("mini, as shipped", "mini"),
                *(
                    (base.shown, weights[name])
                    for name, base in BASES.items()
                    if split in base.splits
                ),
            ]
        ),
        command="python -m experiments.adaptation.run",
        metrics={"validation_loss": "validation loss (0.01 nats)"}
        | {name: ACCURACIES[name] for name in ("validation", "test")},
        plots=(("test",), ("validation_loss",)),
        measure=validation_loss,
        beside=baselines.accuracies,
    )


if __name__ == "__main__":
    main(build)
