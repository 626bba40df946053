"""The cache of huggingface_hub, at the place and in the layout that it uses.

    models--<owner>--<name>/blobs/<SHA-256>
    models--<owner>--<name>/snapshots/<commit>/<file> -> ../../blobs/<SHA-256>
    models--<owner>--<name>/refs/main                     holds the commit

Either program finds what the other one downloaded. That a blob's name is its hash is
how a later change of it is noticed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Generator
from pathlib import Path

import filelock

from gpt2_jax.storage.atomic import move, write_text
from gpt2_jax.storage.home import expanded
from gpt2_jax.storage.sealed import sha256_of

log = logging.getLogger(__name__)


def root() -> Path:
    """Return the cache's folder, by huggingface_hub's rules."""
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    path = os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")
    return expanded(os.path.expandvars(path))


def folder_of(repo: str) -> Path:
    return root() / f"models--{repo.replace('/', '--')}"


def find(
    repo: str, file: str, revision: str, sha256: str | None
) -> tuple[Path | None, list[str]]:
    """Return a whole `file` of the revision or of `main`, and what others lack.

    Whole means that it has the hash given, and the hash that it was stored under.
    """
    folder, problems = folder_of(repo), []
    revisions = [revision]
    with contextlib.suppress(OSError, ValueError):
        revisions.append((folder / "refs" / "main").read_text("utf-8").strip())
    for commit in dict.fromkeys(revisions):
        path = folder / "snapshots" / commit / file
        if not path.is_file():
            continue
        got, blob = sha256_of(path), path.resolve().name
        if is_sha256(blob) and blob != got:
            problems.append(f"{path}: damaged (SHA-256 was {blob}, now is {got})")
        elif sha256 not in (None, got):
            problems.append(f"{path}: SHA-256 expected {sha256}, got {got}")
        else:
            return path, []
    return None, problems


@contextlib.contextmanager
def lock(repo: str, file: str) -> Generator[None]:
    """Let one process at a time download `file`."""
    path = root() / ".locks" / folder_of(repo).name / f"{file}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(path)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        log.info(f"{file}: another process downloads it; waiting")
        held.acquire()
    try:
        yield
    finally:
        held.release()


def partial_of(repo: str, file: str) -> Path:
    """Return where a download is kept until it is whole."""
    return folder_of(repo) / "blobs" / f"{file}.incomplete"


def store(repo: str, file: str, commit: str, sha256: str, *, is_main: bool) -> Path:
    """Move the whole partial into its place in the snapshot `commit`.

    `refs/main` becomes `commit` if `is_main`, and else if it does not exist.
    """
    folder, partial = folder_of(repo), partial_of(repo, file)
    blob, path = folder / "blobs" / sha256, folder / "snapshots" / commit / file
    move(partial, blob)
    ref = folder / "refs" / "main"
    if is_main or not ref.is_file():
        write_text(ref, commit)
    # Last: what is found here is not stored again, and so must lack nothing.
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        path.symlink_to(os.path.relpath(blob, path.parent))
    except OSError:  # no symbolic links here; huggingface_hub does the same
        os.replace(blob, path)
    return path


def is_sha256(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None
