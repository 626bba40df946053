"""How a pretrained model goes on reading, before it is fine-tuned."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gpt2_jax.config.data import ROWS, DataConfig
from gpt2_jax.config.fields import check_fields, flag_of, option, option_of, require
from gpt2_jax.config.finetune import MODEL
from gpt2_jax.config.layout import LayoutConfig
from gpt2_jax.config.model import PRECISION_HELP, Dtype, GPT2Config, Precision
from gpt2_jax.config.train import (
    DETERMINISTIC_HELP,
    DEVICES,
    MEASURING,
    TRAINING,
    TrainConfig,
)


@dataclasses.dataclass(frozen=True)
class AdaptConfig:
    """Task-adaptive pre-training: a language model on texts without their labels.

    Source: Gururangan et al. 2020, "Don't Stop Pretraining", arXiv:2004.10964. The
    defaults are those of experiments/adaptation.
    """

    weights: str | Path = option(
        "mini",
        "a language model: mini, 124M to 1558M, random:SIZE, or a path",
        metavar="W",
        section=MODEL,
    )
    layout: LayoutConfig = LayoutConfig()
    data: DataConfig = DataConfig()
    length: int | None = option(
        None,
        "of the sequences that all texts, end to end, are cut into",
        unset="128, if the model has so many positions",
        metavar="TOKENS",
        at_least=1,
        section=MODEL,
    )
    dtype: Dtype = option(
        GPT2Config.dtype,
        "of matmuls; parameters, layer norms and softmax stay float32",
        section=MODEL,
    )
    precision: Precision = option(GPT2Config.precision, PRECISION_HELP, section=MODEL)
    held_out: float = option(
        0.05,
        "share of the texts that measure the loss, and are not trained on",
        above=0,
        below=1,
        section=TRAINING,
    )
    epochs: int = option(5, "passes over the texts", at_least=1, section=TRAINING)
    batch_size: int = option(
        16, "sequences of one update, over all devices", at_least=1, section=TRAINING
    )
    learning_rate: float = option(
        5e-4,
        "the highest, after a warm-up of 5% of the steps; then it falls to zero",
        above=0,
        section=TRAINING,
    )
    weight_decay: float = option(
        0.01, "on every leaf, as torch.optim.AdamW", at_least=0, section=TRAINING
    )
    clip_norm: float | None = option(
        1.0,
        "scale gradients of a larger norm down to this one",
        above=0,
        section=TRAINING,
    )
    seed: int = option(
        0,
        "of what is held out, and of the order of the texts",
        at_least=0,
        below=2**32,
        section=TRAINING,
    )
    devices: int | None = option(
        None, "how many to use", unset="all", at_least=1, section=DEVICES
    )
    accumulate: int = option(
        1,
        "compute the gradient of each batch in N pieces, for less memory",
        at_least=1,
        section=DEVICES,
    )
    deterministic: bool = option(False, DETERMINISTIC_HELP, section=DEVICES)
    save_every: int | None = option(
        None,
        "measure the loss on what is held out, and write a checkpoint, this often",
        unset="once per epoch",
        metavar="STEPS",
        at_least=1,
        section=MEASURING,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            self.batch_size % self.accumulate == 0,
            f"batch_size={self.batch_size} is not divisible by accumulate="
            f"{self.accumulate}",
        )
        unused = [
            flag_of(field.name, option_of(field))
            for field in dataclasses.fields(self.data)
            if option_of(field).section != ROWS
            and getattr(self.data, field.name) != field.default
        ]
        require(
            not unused, f"texts are read without their labels; omit {', '.join(unused)}"
        )

    @property
    def train(self) -> TrainConfig:
        """What an optimizer is made of."""
        return TrainConfig(
            trainable=("all",),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            schedule="linear",
        )
