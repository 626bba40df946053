"""A bar with the time that is left, on a terminal, for what takes a while."""

from __future__ import annotations

import logging
from typing import Any

from tqdm import tqdm

_PATIENCE = 2.0  # seconds before a bar is shown


def bar(total: int, what: str, unit: str) -> Any:
    """Return a bar of `total` units, to be updated and closed; it leaves no line.

    Where the log is quiet, or standard error is no terminal, it shows nothing.
    """
    quiet = not logging.getLogger("gpt2_jax").isEnabledFor(logging.INFO)
    return tqdm(
        total=total,
        desc=what,
        unit=f" {unit}",
        delay=_PATIENCE,
        leave=False,
        disable=True if quiet else None,
    )
