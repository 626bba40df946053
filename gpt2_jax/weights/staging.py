"""Files and folders that stand whole at their place, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from gpt2_jax.errors import UserError
from gpt2_jax.scratch import scratch


@contextlib.contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """Yield a path beside `destination`; what is written there is then moved to it.

    If the block fails nothing of it is left; see `scratch`.

    Raises:
        UserError: something is at `destination` already, or it cannot be written.
    """
    _refuse_existing(destination)
    try:
        with scratch(destination) as folder:
            path = folder / destination.name
            yield path
            _refuse_existing(destination)
            os.replace(path, destination)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{destination}: cannot be written ({reason})") from error


def _refuse_existing(destination: Path) -> None:
    if os.path.lexists(destination):
        raise UserError(
            f"{destination}: is there already; remove it, or choose another name"
        )
