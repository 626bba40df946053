"""One trainer per folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.storage.atomic import write_json

log = logging.getLogger(__name__)


LOCK, OWNER = ".lock", ".owner.json"


@contextlib.contextmanager
def workdir_lock(workdir: Path) -> Iterator[None]:
    """Make `workdir` if need be, and be its only trainer while the block runs.

    The operating system ends the hold of a process that dies; who it was stays in a
    file, which also tells hosts apart where a network's disk knows no locks.

    Raises:
        UserError: it cannot be written.
        WeightsError: another trainer holds it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(workdir / LOCK)
        _acquire(lock, workdir)
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        owner["since"] = time.strftime("%Y-%m-%d %H:%M:%S %z")
        write_json(workdir / OWNER, owner)
    except OSError as error:
        raise UserError(
            f"{workdir}: cannot be written ({error.strerror}); choose another --workdir"
        ) from error
    try:
        yield
    finally:
        (workdir / OWNER).unlink(missing_ok=True)
        if [path.name for path in workdir.iterdir()] == [LOCK]:  # nothing was begun
            (workdir / LOCK).unlink()
            workdir.rmdir()
        lock.release()


def _acquire(lock: filelock.BaseFileLock, workdir: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise WeightsError(
            f"{workdir}: in use by {_describe(_owner(workdir))}; choose another "
            "--workdir, or stop that run first"
        ) from None
    owner = _owner(workdir)
    if owner is None:
        return
    if owner.get("host") != socket.gethostname():
        lock.release()
        raise WeightsError(
            f"{workdir}: in use by {_describe(owner)}; if that run is gone, remove "
            f"{workdir / OWNER}"
        )
    log.info("%s: taken over from %s, which is gone", workdir, _describe(owner))


def _owner(workdir: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((workdir / OWNER).read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        return {}


def _describe(owner: dict[str, Any] | None) -> str:
    names = {"pid": "?", "host": "?", "since": "?", **(owner or {})}
    return "pid {pid} on host {host} since {since}".format(**names)
