"""Files and folders that are written whole, or not at all: the one way to write them.

Each is made in a folder of its own beside its place, brought to the disk, and moved.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import filelock

from gpt2_jax.errors import UserError

_LOCK = ".lock"  # held by the process whose folder it is

_MARK = ".gpt2-jax-"  # .<name of the destination>.gpt2-jax-<random>/


@contextlib.contextmanager
def replacing(destination: Path) -> Generator[Path]:
    """Yield where to write a file or a folder that then takes the place of a file.

    If the block fails, what was at `destination` is still there, and nothing else. A
    process that is killed leaves a folder that the next one removes.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{destination.name}{_MARK}"
    for folder in destination.parent.glob(f"{glob.escape(prefix)}*"):
        _remove_abandoned(folder)
    with (
        tempfile.TemporaryDirectory(
            dir=destination.parent, prefix=prefix, ignore_cleanup_errors=True
        ) as name,
        filelock.FileLock(Path(name) / _LOCK, timeout=0),
    ):
        path = Path(name) / destination.name
        yield path
        move(path, destination)


@contextlib.contextmanager
def creating(destination: Path) -> Generator[Path]:
    """Do what `replacing` does where there must be nothing yet.

    Raises:
        UserError: something is at `destination`, or it cannot be written.
    """
    _refuse_existing(destination)
    try:
        with replacing(destination) as path:
            yield path
            _refuse_existing(destination)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{destination}: cannot be written ({reason})") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file; see `replacing`."""
    with replacing(path) as new:
        new.write_text(text, "utf-8")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file; see `replacing`."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def move(path: Path, destination: Path) -> None:
    """Move what is whole to its place on the same disk."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as content:
                os.fsync(content.fileno())  # a loss of power must not keep names alone
    path.replace(destination)


def leftovers(folder: Path) -> list[Path]:
    """Return what processes that were killed were writing in `folder`."""
    return [
        *folder.glob(f".*{glob.escape(_MARK)}*"),
        *folder.glob(".*.partial"),  # as earlier versions named it
    ]


def _remove_abandoned(folder: Path) -> None:
    # The operating system ends the hold of a process that dies.
    with (
        contextlib.suppress(filelock.Timeout, OSError),
        filelock.FileLock(folder / _LOCK, timeout=0),
    ):
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_existing(destination: Path) -> None:
    if os.path.lexists(destination):
        raise UserError(
            f"{destination}: is there already; remove it, or choose another name"
        )
