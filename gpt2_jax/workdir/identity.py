"""What a run is: whatever decides its numbers, so that it is resumed as itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gpt2_jax import config as configs
from gpt2_jax.config import FinetuneConfig
from gpt2_jax.storage.sealed import digest

Difference = tuple[str, Any, Any]  # name, there, here


# A resumed run may change these. The first ones change its further course, which is
# said; the others only where and how often it looks, saves and computes.
COURSE = ("train.epochs", "train.learning_rate", "train.patience")


FREE = (
    *COURSE,
    "train.parallel",
    "train.devices",
    "train.accumulate",
    "train.shard",
    "train.reuse_trunk",
    "train.reuse_max_bytes",
    "train.reuse_max_disk_bytes",
    "train.eval_every",
    "train.eval_batches",
    "train.save_every",
    "train.keep_checkpoints",
    "train.keep",
    "train.tensorboard",
    "train.wandb",
    # Their content counts, not its name.
    "weights",
    "data.source",
    "data.labels_file",
    "data.label_names",
    "data.test_data",
    # What is told of it, and not what it is.
    "data.positive",
    "baselines",
)


def run_id(config: FinetuneConfig, identity: Mapping[str, Any]) -> str:
    """Return the hash of all that a resumed run may not change."""
    fixed = {k: v for k, v in flat(config).items() if k not in FREE}
    return digest({**identity, **fixed})


def flat(config: FinetuneConfig) -> dict[str, Any]:
    """Return a config as {"train.seed": 123}, in JSON's types."""
    values = json.loads(json.dumps(configs.to_dict(config)))
    nested = {
        f"{room}.{key}": value
        for room in ("data", "train")
        for key, value in values.pop(room).items()
    }
    return values | nested


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Return what is not the same in both."""
    return [(k, old.get(k), new[k]) for k in new if old.get(k) != new[k]]


def describe(changes: list[Difference]) -> str:
    return "; ".join(f"{name}: there {a!r}, here {b!r}" for name, a, b in changes)
