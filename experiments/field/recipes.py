"""The settings that are compared; a name is what `--recipes` takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import optax
from jax import Array

from gpt2_jax.config import DataConfig, FinetuneConfig, TrainConfig
from gpt2_jax.model.tree import Params

# Changes of a FinetuneConfig; those of its `train` and `data` have a prefix.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "rate-5e-4": {"train.learning_rate": 5e-4},
    "rate-2e-3": {"train.learning_rate": 2e-3},
    "epochs-10": {"train.epochs": 10},
    "batch-16": {"train.batch_size": 16},
    "decay-1": {"train.weight_decay": 1.0},
    "smoothing": {},  # of the labels: see `GIVEN`, as for the next one
    "head-faster": {},  # than what lies below it
    "mean": {"pool": "mean"},
    "last-mean": {"pool": "last_mean"},
    "two": {"train.trainable": "last_two_blocks", "train.learning_rate": 5e-4},
    "two-slower-below": {"train.trainable": "last_two_blocks"},  # see `GIVEN`
    "two-mean": {
        "pool": "mean",
        "train.trainable": "last_two_blocks",
        "train.learning_rate": 5e-4,
    },
    "two-last-mean": {
        "pool": "last_mean",
        "train.trainable": "last_two_blocks",
        "train.learning_rate": 5e-4,
    },
    "cut-256": {"max_length": 256},
    "head-tail-256": {"max_length": 256, "long": "head_tail"},
    "windows-256": {"max_length": 256, "long": "windows"},
    "windows-256-mean": {"max_length": 256, "long": "windows", "pool": "mean"},
    "weights": {"data.balance": "weights"},  # of the classes, for rare ones
}


def smoothed(logits: Array, labels: Array) -> Array:
    """Return cross-entropy [B] with labels that are a tenth uniform.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer
    Vision", section 7.
    """
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), 0.1)
    return optax.softmax_cross_entropy(logits, targets)


def rates(others: float, **parts: float) -> optax.GradientTransformation:
    """Return AdamW as the default has it, with a learning rate for parts by name.

    Source of lower rates further below: Howard and Ruder 2018, "Universal Language
    Model Fine-tuning for Text Classification", section 3.2.
    """

    def part_of(params: Params) -> dict[str, str]:
        return {name: name if name in parts else "others" for name in params}

    decay = TrainConfig().weight_decay
    each: dict[Any, optax.GradientTransformation] = {
        name: optax.adamw(rate, weight_decay=decay)
        for name, rate in {**parts, "others": others}.items()
    }
    return optax.multi_transform(each, part_of)


# Of the recipes that a config does not hold: what `finetune` is given beside it.
GIVEN: Mapping[str, Mapping[str, Any]] = {
    "smoothing": {"loss": smoothed},
    "head-faster": {"optimizer": rates(5e-4, out_head=2e-3)},
    "two-slower-below": {"optimizer": rates(5e-4, out_head=1e-3, h_10=2e-4)},
}


def folder_of(recipe: str, workdir: Path) -> Path:
    """Return where the runs of a recipe lie: apart if their config is another's."""
    return workdir / recipe if recipe in GIVEN else workdir


def config_of(recipe: str, data: DataConfig) -> FinetuneConfig:
    """Return the config of a recipe on `data`."""
    config = FinetuneConfig(data=data)
    for name, value in RECIPES[recipe].items():
        room, _, field = name.rpartition(".")
        if room:
            changed = dataclasses.replace(getattr(config, room), **{field: value})
            config = dataclasses.replace(config, **{room: changed})
        else:
            config = dataclasses.replace(config, **{field: value})
    return config
