"""What a classifier says of a text."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a classifier says of one text."""

    label: str | None  # None: abstained
    prob: float  # of the label, also where it was not given
    probs: dict[str, float]  # of every class
    n_tokens: int  # of the whole text; 0: it is empty
    truncated: bool  # not all of it was read
