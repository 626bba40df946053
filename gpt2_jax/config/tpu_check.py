"""Which train steps `tpu-check` compiles, for which slices."""

from __future__ import annotations

import dataclasses

from gpt2_jax.config.fields import check_fields, option
from gpt2_jax.config.model import PRESETS, Dtype, GPT2Config
from gpt2_jax.config.train import Parallel, Scope, Shard, TrainConfig


@dataclasses.dataclass(frozen=True)
class TpuCheckConfig:
    """The train steps to compile: every combination of the first four."""

    topologies: tuple[str, ...] = option(
        ("v5e:2x4",), "such as v5e:2x4 v6e:2x2", flag="--topology"
    )
    weights: tuple[str, ...] = option(
        ("mini",), "sizes of models", choices=tuple(PRESETS)
    )
    trainable: tuple[Scope, ...] = option(("last_block",), "what is trained")
    parallel: tuple[Parallel, ...] = option(
        (TrainConfig.parallel,), "how a step is spread over the chips"
    )
    shard: Shard = option(
        TrainConfig.shard, "fsdp: cut parameters and optimizer state over the chips"
    )
    batch_size: int = option(64, "texts of one update, over all chips", at_least=1)
    max_length: int = option(128, "width of the batch", metavar="TOKENS", at_least=1)
    num_classes: int = option(2, "classes of the head", at_least=2)
    dtype: Dtype = option(GPT2Config.dtype, "of matmuls; parameters stay float32")

    def __post_init__(self) -> None:
        check_fields(self)
