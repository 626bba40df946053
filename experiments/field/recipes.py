"""The settings that are compared; a name is what `--recipes` takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gpt2_jax.config import DataConfig, FinetuneConfig

# Changes of a FinetuneConfig; those of its `train` and `data` have a prefix.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "rate-5e-4": {"train.learning_rate": 5e-4},
    "rate-2e-3": {"train.learning_rate": 2e-3},
    "epochs-10": {"train.epochs": 10},
    "batch-16": {"train.batch_size": 16},
    "decay-1": {"train.weight_decay": 1.0},
    "dropout": {"train.dropout_rate": 0.1},
    "mean": {"pool": "mean"},
    "last-mean": {"pool": "last_mean"},
    "two": {"train.trainable": "last_two_blocks", "train.learning_rate": 5e-4},
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
