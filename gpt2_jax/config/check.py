"""Which programs `check` compiles, for which accelerators."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gpt2_jax.config.fields import check_fields, option
from gpt2_jax.config.model import PRECISION_HELP, PRESETS, Dtype, GPT2Config, Precision
from gpt2_jax.config.train import Parallel, Scope, Shard, TrainConfig

Program = Literal["trunk", "train", "evaluate", "predict"]


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """The programs to compile: every combination of the tuples."""

    targets: tuple[str, ...] = option(
        ("v5e:2x4",),
        "h100, a100, l4 or t4, several as in h100:8; v4, v5e, v5p, v6e or tpu7x, with "
        "the shape of the slice as in v5e:2x4",
        flag="--target",
    )
    weights: tuple[str, ...] = option(
        ("mini",), "sizes of models", choices=tuple(PRESETS)
    )
    trainable: tuple[Scope, ...] = option(("last_block",), "what is trained")
    dtype: tuple[Dtype, ...] = option(
        (GPT2Config.dtype,), "of matmuls; parameters stay float32"
    )
    parallel: tuple[Parallel, ...] = option(
        (TrainConfig.parallel,), "how a step is spread over the chips"
    )
    programs: tuple[Program, ...] = option(
        ("trunk", "train", "evaluate", "predict"),
        "of the frozen blocks, a training step, an evaluation, a prediction",
    )
    precision: Precision = option(GPT2Config.precision, PRECISION_HELP)
    shard: Shard = option(
        TrainConfig.shard, "fsdp: cut parameters and optimizer state over the chips"
    )
    batch_size: int = option(64, "texts of one update, over all chips", at_least=1)
    max_length: int = option(128, "width of the batch", metavar="TOKENS", at_least=1)
    num_classes: int = option(2, "classes of the head", at_least=2)

    def __post_init__(self) -> None:
        check_fields(self)
