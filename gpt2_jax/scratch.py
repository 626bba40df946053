"""Where a file is made before it is moved to its place, whole."""

from __future__ import annotations

import contextlib
import glob
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

_LOCK = ".lock"  # held by the process whose folder it is


@contextlib.contextmanager
def scratch(destination: Path) -> Iterator[Path]:
    """Yield an empty folder beside `destination`; what is left in it then goes.

    So does what a process that was killed left of the same destination.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{destination.name}.gpt2-jax-"
    for folder in destination.parent.glob(f"{glob.escape(prefix)}*"):
        _remove_abandoned(folder)
    with (
        tempfile.TemporaryDirectory(
            dir=destination.parent, prefix=prefix, ignore_cleanup_errors=True
        ) as name,
        filelock.FileLock(Path(name) / _LOCK, timeout=0),
    ):
        yield Path(name)


def _remove_abandoned(folder: Path) -> None:
    # The operating system ends the hold of a process that dies.
    with (
        contextlib.suppress(filelock.Timeout, OSError),
        filelock.FileLock(folder / _LOCK, timeout=0),
    ):
        shutil.rmtree(folder, ignore_errors=True)
