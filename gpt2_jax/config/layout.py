"""What a file of weights does not always tell of itself."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Literal

from gpt2_jax.config.fields import check_fields, option
from gpt2_jax.config.model import PoolName

NamingName = Literal[
    "hf",
    "llms-from-scratch",
    "llms-from-scratch-fast",
    "nanogpt",
    "mingpt",
    "flax",
    "openai",
]
NAMINGS: tuple[NamingName, ...] = typing.get_args(NamingName)

LAYOUT = "weights"


@dataclasses.dataclass(frozen=True)
class LayoutConfig:
    """How weights are to be read, where they do not say it themselves."""

    num_heads: int | None = option(
        None,
        "attention heads of a block",
        unset="as the weights or their size tell",
        at_least=1,
        section=LAYOUT,
    )
    naming: NamingName | None = option(
        None,
        "whose names the tensors have",
        unset="as the weights tell",
        section=LAYOUT,
    )
    tokenizer: str | Path | None = option(
        None,
        "folder of the tokenizer",
        unset="beside the weights, else GPT-2's",
        metavar="FOLDER",
        section=LAYOUT,
    )

    def __post_init__(self) -> None:
        check_fields(self)


@dataclasses.dataclass(frozen=True)
class ForeignConfig(LayoutConfig):
    """How a classifier of another program is to be read; a run of ours says it all."""

    classes: tuple[str, ...] | None = option(
        None,
        "label, in the order of the logits",
        unset="as the weights tell",
        flag="--class",
        metavar="LABEL",
        section=LAYOUT,
        repeated=True,
    )
    max_length: int | None = option(
        None,
        "tokens; what is longer is cut",
        unset="all positions of the model",
        at_least=1,
        section=LAYOUT,
    )
    pool: PoolName | None = option(
        None,
        "position whose hidden state is classified",
        unset="last_real, of LLMs-from-scratch last",
        section=LAYOUT,
    )
