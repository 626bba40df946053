"""Paths of the user's home."""

from __future__ import annotations

from pathlib import Path

from gpt2_jax.errors import DeviceError


def expanded(path: str | Path) -> Path:
    """Return `path` with the home folder in the place of a `~` at its start.

    Raises:
        DeviceError: the user has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DeviceError(
            f"{path}: no home folder; set HOME, or write it out"
        ) from None
