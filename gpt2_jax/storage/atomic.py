"""Where a file is made before it is moved to its place, whole."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from gpt2_jax.errors import UserError

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


def write_json(path: Path, values: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write so that `path` holds the old content or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    move_into_place(partial, path)


def move_into_place(partial: Path, path: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())  # a loss of power must not keep the name alone
    partial.replace(path)


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
