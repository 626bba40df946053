"""What a run is: whatever decides its numbers, so that it is resumed as itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from gpt2_jax import config as configs
from gpt2_jax.config import AdaptConfig, FinetuneConfig
from gpt2_jax.storage.sealed import digest

AnyConfig = TypeVar("AnyConfig", FinetuneConfig, AdaptConfig)
Difference = tuple[str, Any, Any]  # name, there, here


# A resumed run may change these. The first ones change its further course, which is
# said; the others only where and how often it looks, saves and computes.
COURSE = ("train.epochs", "train.learning_rate", "train.patience")


# Of what was read, and with the head and the adapters that were drawn. XLA may round
# these otherwise on another machine, so they only tell of runs that older versions
# began, whose run.json has no other hash of the weights.
PRETRAINED, WEIGHTS = "pretrained.sha256", "weights.sha256"


# What the caller's own loss is (`engine.loss.loss_identity`); cross-entropy has none.
LOSS = "loss"


# These change what is made of a trained run, and told of it, and not its training.
TOLD = ("lexical", "baselines", "data.positive")


FREE = (
    *COURSE,
    *TOLD,
    "train.parallel",
    "train.devices",
    "train.accumulate",
    "train.shard",
    "train.deterministic",
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
    "layout.num_heads",
    "layout.naming",
    "layout.tokenizer",
    "data.source",
    "data.labels_file",
    "data.label_names",
    "data.corrections",
    "data.test_data",
    "data.test_labels_file",
    # Of `adapt`.
    "devices",
    "accumulate",
    "deterministic",
)


def run_id(config: AnyConfig, identity: Mapping[str, Any]) -> str:
    """Return the hash of all that a resumed run may not change."""
    values = {**identity, **flat(config)}
    return digest({k: v for k, v in values.items() if k not in (*FREE, WEIGHTS)})


def flat(config: AnyConfig) -> dict[str, Any]:
    """Return a config as {"train.seed": 123}, in JSON's types."""
    values = json.loads(json.dumps(configs.to_dict(config)))
    rooms = [name for name, value in values.items() if isinstance(value, dict)]
    nested = {
        f"{room}.{key}": value
        for room in rooms
        for key, value in values.pop(room).items()
    }
    return values | nested


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Return what is not the same in both."""
    return [(k, old.get(k), new[k]) for k in new if old.get(k) != new[k]]


def identity_differences(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[Difference]:
    """Return what is not the same in two runs; the old one may lack PRETRAINED."""
    other = WEIGHTS if PRETRAINED in old else PRETRAINED
    gone = dict.fromkeys(old.keys() - {*new, WEIGHTS, PRETRAINED})
    return [c for c in differences(old, {**new, **gone}) if c[0] != other]


def describe(changes: list[Difference]) -> str:
    return "; ".join(f"{name}: there {a!r}, here {b!r}" for name, a, b in changes)
