"""What a file of weights does not always tell of itself."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Literal

from gpt2_jax.config.fields import check_fields, option

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
