"""Everything that decides a run, and the named sets of it."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from gpt2_jax.config.data import DataConfig
from gpt2_jax.config.fields import check_fields, from_dict, option
from gpt2_jax.config.layout import LayoutConfig
from gpt2_jax.config.model import (
    PRECISION_HELP,
    Dtype,
    GPT2Config,
    Long,
    PoolName,
    Precision,
)
from gpt2_jax.config.train import TrainConfig

Baselines = Literal["linear", "none"]
MODEL = "model"
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Everything that decides a run; `config.json` of a run is this, and replays it."""

    weights: str | Path = option(
        "mini",
        "mini, 124M to 1558M, random:SIZE, a path, or owner/name on the hub",
        metavar="W",
        section=MODEL,
    )
    layout: LayoutConfig = LayoutConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    pool: PoolName = option(
        GPT2Config.pool, "position whose hidden state is classified", section=MODEL
    )
    causal: bool = option(
        GPT2Config.causal,
        "a token sees itself and those before it only, or all others",
        flag="--causal-mask",
        section=MODEL,
    )
    max_length: int | None = option(
        None,
        "tokens that the model reads at once; see --long",
        unset="the longest training text",
        metavar="TOKENS",
        at_least=1,
        section=MODEL,
    )
    long: Long = option(
        "cut",
        "of a longer text: its beginning, its beginning and end, or all of it, in "
        "windows whose logits are averaged",
        section=MODEL,
    )
    dtype: Dtype = option(
        GPT2Config.dtype,
        "of matmuls; parameters, layer norms and softmax stay float32",
        section=MODEL,
    )
    precision: Precision = option(GPT2Config.precision, PRECISION_HELP, section=MODEL)
    # experiments/field compares with and without
    lexical: bool = option(
        True,
        "add to the logits what linear models on n-grams say, fitted on the training "
        "texts and weighed on validation",
        section=MODEL,
    )
    baselines: Baselines = option(
        "linear",
        "measured beside the majority class: linear models on TF-IDF, or none; with "
        "--no-lexical these are not even fitted",
    )

    def __post_init__(self) -> None:
        check_fields(self)


def from_stored(cls: type[_T], values: Any, where: str = "config") -> _T:
    """Return the config of a config.json, of whatever job.

    A whole one of `finetune` without `lexical` is of a version that had no such part.

    Raises:
        ValueError: an unknown key, or a value of the wrong type; both name the key.
    """
    whole = {"weights", "data", "train", "pool", "dtype"}
    if issubclass(cls, FinetuneConfig) and isinstance(values, Mapping):
        values = {"lexical": False, **values} if whole <= values.keys() else values
    return from_dict(cls, values, where)


# `book`: LLMs-from-scratch ch06/01_main-chapter-code/gpt_class_finetune.py.
FINETUNE_PRESETS: Mapping[str, FinetuneConfig] = types.MappingProxyType(
    {
        "default": FinetuneConfig(),
        "book": FinetuneConfig(
            data=DataConfig(
                source="sms-spam", book=True, group=False, balance="undersample"
            ),
            train=TrainConfig(learning_rate=5e-5, schedule="constant"),
            pool="last",
            lexical=False,
        ),
    }
)
