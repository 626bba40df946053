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
from pathlib import Path

import numpy as np

from experiments.pretrain.config import PretrainConfig
from experiments.pretrain.export import export
from experiments.pretrain.shard import Windows, write_shards
from experiments.pretrain.train import train
from experiments.study import ACCURACIES, Setting, Study, main
from gpt2_jax.config import FINETUNE_PRESETS, DataConfig, FinetuneConfig
from gpt2_jax.data.sources import Dataset, load_dataset
from gpt2_jax.data.split import split_dataset

DATA = FINETUNE_PRESETS["book"].data
BASES = {"mini": "mini, as shipped", "train": "training part", "all": "all other SMS"}
EPOCHS = {"train": 5, "all": 3}
RATES = {"1e-3": 1e-3, "5e-4": 5e-4, "3e-4": 3e-4}
LENGTH, BATCH = 128, 16
FOLDERS = ("weights", "tokens", "run")  # of each base


def texts_of(name: str, dataset: Dataset, everything: Dataset) -> list[str]:
    """Return the texts to learn from, shuffled; none of them validates or tests."""
    parts = split_dataset(dataset, DATA).parts()
    held_out = {dataset.texts[r] for p in ("validation", "test") for r in parts[p]}
    texts = (
        [dataset.texts[row] for row in parts["train"]]
        if name == "train"
        else list(everything.texts)
    )
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[i] for i in order if texts[i] not in held_out]


def adapt(name: str, texts: list[str], folder: Path) -> Path:
    """Train mini on `texts` as a language model; return its weights.

    What is finished is kept, and what was interrupted goes on.
    """
    weights, tokens, run = (folder / f"{name}-{what}" for what in FOLDERS)
    if weights.exists():
        return weights
    if not tokens.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.jsonl"
        lines = [json.dumps({"text": text}) + "\n" for text in texts]
        file.write_text("".join(lines), "utf-8")
        write_shards([file], tokens, validation_every=20, shard_tokens=1 << 26)
    windows = len(Windows.read(tokens, "train", LENGTH))
    steps = max(EPOCHS[name] * windows // BATCH, 1)
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
        validate_every=50,
        save_every=50,
    )
    train(config, tokens, run, resume=(run / "config.json").is_file())
    export(run, weights)
    return weights


def build(arguments: argparse.Namespace) -> Study:
    folder = (arguments.workdir or Path("checkpoints") / "adaptation") / "bases"
    dataset = load_dataset(DATA)
    everything = load_dataset(DataConfig(source="sms-spam", balance="none"))
    bases = {"mini": "mini"}
    for name in EPOCHS:
        texts = texts_of(name, dataset, everything)
        bases[name] = str(adapt(name, texts, folder))
    default = FinetuneConfig()
    return Study(
        name="adaptation",
        title="Does more pre-training on SMS help?",
        question="Accuracy on the book's split of SMS Spam, by what the base model has "
        "read before it is fine-tuned: its own corpus only, or SMS without labels too.",
        settings=tuple(
            Setting(
                f"{BASES[name]}, learning rate {shown}",
                dataclasses.replace(
                    default,
                    weights=weights,
                    data=DATA,
                    train=dataclasses.replace(default.train, learning_rate=rate),
                ),
            )
            for shown, rate in RATES.items()
            for name, weights in bases.items()
        ),
        command="python -m experiments.adaptation.run",
        metrics={name: ACCURACIES[name] for name in ("validation", "test")}
        | {"tfidf": "TF-IDF of characters + logistic regression (%)"},
        plots=(("validation", "test", "tfidf"),),
    )


if __name__ == "__main__":
    main(build)
