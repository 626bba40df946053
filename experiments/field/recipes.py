"""The settings that are compared; a name is what `--recipes` takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gpt2_jax.config import DataConfig, FinetuneConfig

# Changes of a FinetuneConfig; those of its `train` have a prefix.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "first-defaults": {},
    "mean": {"pool": "mean"},
    "last-mean": {"pool": "last_mean"},
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
    "two": {
        "train.trainable": "last_two_blocks",
        "train.learning_rate": 5e-4,
    },
}


def config_of(recipe: str, data: DataConfig) -> FinetuneConfig:
    """Return the config of a recipe on `data`; its baselines are fitted elsewhere."""
    changes = RECIPES[recipe]
    prefix = "train."
    config = FinetuneConfig(data=data, baselines="none")
    train = {k[len(prefix) :]: v for k, v in changes.items() if k.startswith(prefix)}
    return dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, **train),
        **{k: v for k, v in changes.items() if not k.startswith(prefix)},
    )
