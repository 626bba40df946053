"""How the parameters of one run are trained, measured and kept."""

from __future__ import annotations

import dataclasses
import typing
from typing import Literal

from gpt2_jax.config.fields import check_fields, option, require
from gpt2_jax.config.model import GPT2Config

Scope = Literal["head", "last_block", "last_two_blocks", "all", "lora"]
TRAINABLE: tuple[Scope, ...] = typing.get_args(Scope)

Schedule = Literal["constant", "linear", "cosine"]
SCHEDULES: tuple[Schedule, ...] = typing.get_args(Schedule)

Parallel = Literal["jit", "pmap"]
PARALLEL: tuple[Parallel, ...] = typing.get_args(Parallel)

Shard = Literal["none", "fsdp"]
SHARDS: tuple[Shard, ...] = typing.get_args(Shard)

Keep = Literal["best", "last"]

Metric = Literal["accuracy", "loss", "f1"]
METRICS: tuple[Metric, ...] = typing.get_args(Metric)

TRAINING = "training"
DEVICES = "devices and memory"
MEASURING = "measurements and checkpoints"
DETERMINISTIC_HELP = (
    "on a GPU: only what gives the same bits each time, which is slower"
)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Optimisation of one run."""

    trainable: tuple[str, ...] = option(
        ("last_block",),
        f"{', '.join(TRAINABLE)}, or regexes over parameter paths",
        metavar="NAME",
        section=TRAINING,
    )
    epochs: int = option(
        5, "passes over the training texts", at_least=1, section=TRAINING
    )
    batch_size: int = option(
        8, "texts of one update, over all devices", at_least=1, section=TRAINING
    )
    accumulate: int = option(
        1,
        "compute the gradient of each batch in N pieces, for less memory",
        section=DEVICES,
    )
    # experiments/recipe compares others
    learning_rate: float = option(
        1e-3, "the highest of the schedule", above=0, section=TRAINING
    )
    weight_decay: float = option(
        0.1,
        "on every trained leaf, as torch.optim.AdamW",
        at_least=0,
        section=TRAINING,
    )
    schedule: Schedule = option(
        "cosine", "of the learning rate, after the warm-up", section=TRAINING
    )
    warmup_steps: int | None = option(
        None,
        "steps in which the learning rate rises",
        unset="5% of all, 0 under constant",
        metavar="STEPS",
        at_least=0,
        section=TRAINING,
    )
    clip_norm: float | None = option(
        None,
        "scale gradients of a larger norm down to this one",
        unset="never",
        above=0,
        section=TRAINING,
    )
    dropout_rate: float = option(
        GPT2Config.dropout_rate,
        "while training, of embeddings, attention weights and residual branches",
        at_least=0,
        below=1,
        section=TRAINING,
    )
    lora_rank: int = option(
        16, "of the adapters of --trainable lora", at_least=1, section=TRAINING
    )
    lora_alpha: float = option(
        GPT2Config.lora_alpha, "adapters count alpha/rank times", section=TRAINING
    )
    seed: int = option(
        123,
        "of the new head, the order of the texts and dropout",
        at_least=0,
        below=2**32,
        section=TRAINING,
    )
    parallel: Parallel = option(
        "jit", "how a step is spread over the devices", section=DEVICES
    )
    devices: int | None = option(
        None,
        "how many to use, of all processes",
        unset="all",
        at_least=1,
        section=DEVICES,
    )
    shard: Shard = option(
        "none",
        "fsdp: cut parameters and optimizer state over the devices",
        section=DEVICES,
    )
    deterministic: bool = option(False, DETERMINISTIC_HELP, section=DEVICES)
    reuse_trunk: bool = option(
        True,
        "run the frozen trunk once per text, if dropout is 0",
        section=DEVICES,
    )
    reuse_max_bytes: int = option(
        4 * 2**30,
        "keep the output of the trunk in memory up to this size",
        metavar="BYTES",
        at_least=0,
        section=DEVICES,
    )
    reuse_max_disk_bytes: int = option(
        64 * 2**30,
        "or in a file up to this",
        metavar="BYTES",
        at_least=0,
        section=DEVICES,
    )
    eval_every: int = option(
        50,
        "measure train and validation batches this often",
        metavar="STEPS",
        at_least=1,
        section=MEASURING,
    )
    eval_batches: int = option(
        5, "batches of each such measurement", at_least=1, section=MEASURING
    )
    save_every: int | None = option(
        None,
        "write a checkpoint this often",
        unset="once per epoch",
        metavar="STEPS",
        at_least=1,
        section=MEASURING,
    )
    # At least two: a damaged one must not be the only one.
    keep_checkpoints: int = option(
        2,
        "newest ones to keep, beside the best; the last may get damaged",
        at_least=2,
        section=MEASURING,
    )
    # On a small validation part the best is chance: see experiments/recipe.
    keep: Keep = option(
        "last",
        "parameters that the run ends with: the last, or the best on validation",
        section=MEASURING,
    )
    metric: Metric = option(
        "accuracy", "on validation, for --keep best and --patience", section=MEASURING
    )
    patience: int | None = option(
        None,
        "stop after so many epochs without a better one",
        unset="never",
        metavar="EPOCHS",
        at_least=1,
        section=MEASURING,
    )
    tensorboard: bool = option(
        False,
        "also write the lines of metrics.jsonl for TensorBoard",
        section=MEASURING,
    )
    wandb: bool = option(False, "and to Weights & Biases", section=MEASURING)

    def __post_init__(self) -> None:
        if isinstance(self.trainable, str) and self.trainable in TRAINABLE:
            object.__setattr__(self, "trainable", (self.trainable,))
        check_fields(self)
        require(
            1 <= self.accumulate <= self.batch_size,
            f"accumulate={self.accumulate} must be between 1 and batch_size="
            f"{self.batch_size}: it is the number of pieces of a batch",
        )
        require(bool(self.trainable), "trainable names no parameters")
        require(
            self.shard == "none"
            or (self.parallel == "jit" and self.trainable == ("all",)),
            f"shard={self.shard!r} needs parallel='jit' and trainable=('all',)",
        )
