"""How the hidden states of a text become what the head reads: a row for each pool."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Pool:
    """Which vectors [D] the head reads; where there are two they stand side by side."""

    token: Literal["first", "last_real", "last"] | None = None  # the state of one token
    mean: bool = False  # the mean over the text's own tokens, padding left out

    @property
    def width(self) -> int:
        """How many vectors the head reads: its kernel is [width * D, C]."""
        return (self.token is not None) + self.mean

    @property
    def reads_all(self) -> bool:
        """Whether the last block must run for every token, not for one of each text."""
        return self.mean

    @property
    def reads_padding(self) -> bool:
        """Whether what a text is padded to changes its logits."""
        return self.token == "last"


POOLS: Mapping[str, Pool] = types.MappingProxyType(
    {
        "last_real": Pool(token="last_real"),
        "last": Pool(token="last"),  # the book: of a padded text that is a pad
        "first": Pool(token="first"),
        "mean": Pool(mean=True),
        "last_mean": Pool(token="last_real", mean=True),
    }
)
