"""Weights on Hugging Face's hub, by their id.

huggingface_hub downloads, keeps and finds them, with its cache, its token, its progress
and its settings: HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE, HF_ENDPOINT. That a large file
is kept under its SHA-256 is how a later change of it is noticed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from gpt2_jax.errors import WeightsError
from gpt2_jax.storage.download import TIMEOUT_SECONDS, forbidden_by
from gpt2_jax.storage.sealed import sha256_of
from gpt2_jax.weights import adapter, files, formats, tokenizer_folder
from gpt2_jax.weights.hub_errors import in_words
from gpt2_jax.weights.hugging_face_config import CONFIG

_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(@[^\s@]+)?", re.ASCII)

# What a repository may keep its weights in; the first that it has is taken.
_WEIGHTS = (
    *(files.SINGLE, files.INDEX, files.TORCH_SINGLE, files.TORCH_INDEX),
    *(files.FLAX_SINGLE, *adapter.FILES),
)

_BESIDE = (CONFIG, adapter.CONFIG, *tokenizer_folder.FILES, *tokenizer_folder.OTHERS)


class _Bar(tqdm):
    """A bar, where somebody looks at it."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **{**named, "disable": None})


def is_id(name: str | Path) -> bool:
    """Is it no file or folder, but perhaps `name` or `owner/name[@revision]` there?"""
    if Path(name).exists() or not _ID.fullmatch(text := _text(name)):
        return False
    return Path(text.partition("@")[0]).suffix not in files.SUFFIXES


def _text(name: str | Path) -> str:
    return name.as_posix() if isinstance(name, Path) else name


def fetch(name: str | Path, *, offline: bool = False) -> Path:
    """Return a folder with the weights of an id, downloaded if need be.

    It holds what the repository has of config, tokenizer and one format of weights.

    Raises:
        WeightsError: the hub has no such model, or it cannot be had, or no weights.
    """
    repo, _, revision = _text(name).partition("@")
    forbidden = forbidden_by(offline)
    with in_words(repo, revision, forbidden):
        offline = forbidden is not None
        folder = _snapshot(repo, revision or None, _BESIDE, offline=offline)
        here = [file for file in _WEIGHTS if (folder / file).is_file()]
        for file in here or _WEIGHTS:
            path = _file(repo, file, folder.name, offline=offline)
            if path is None:
                continue
            shards = files.shards_of(path) if path.name.endswith(".json") else [file]
            for shard in shards:
                download(repo, shard, folder.name, offline=offline)
            return folder
        if not offline:
            _refuse(repo, folder.name)
    raise WeightsError(
        f"{repo}: {folder} has no weights, and {forbidden} forbids to download them"
    )


def ask(repo: str, revision: str) -> None:
    """Ask whether the hub has a revision, once: a download asks for half a minute.

    Raises:
        OSError, or an error of the HTTP client: it cannot be reached, or has it not.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    api.model_info(repo, revision=revision, timeout=TIMEOUT_SECONDS)


def snapshot_of(path: Path) -> Path:
    """Return the snapshot of a repository's folder in the cache; of others `path`.

    Raises:
        WeightsError: it has several, and none is its `main`.
    """
    if not path.name.startswith("models--") or not (path / "snapshots").is_dir():
        return path
    main = path / "refs" / "main"
    if main.is_file():
        found = path / "snapshots" / main.read_text("utf-8").strip()
        if found.is_dir():
            return found
    snapshots = sorted((path / "snapshots").iterdir())
    if len(snapshots) != 1:
        raise WeightsError(
            f"{path}: {len(snapshots)} snapshots and none is its main; give one of them"
        )
    return snapshots[0]


def _refuse(repo: str, commit: str) -> None:
    """Raise WeightsError, with what the repository has in the place of weights."""
    from huggingface_hub import HfApi

    endpoint = os.environ.get("HF_ENDPOINT")
    names = HfApi(endpoint=endpoint).list_repo_files(repo, revision=commit)
    formats.refuse_other_names(repo, names)
    raise WeightsError(
        f"{repo}: its repository has none of {', '.join(_WEIGHTS)}; it has "
        f"{', '.join(names[:10]) or 'no files'}"
    )


def download(
    repo: str,
    file: str,
    revision: str,
    sha256: str | None = None,
    *,
    offline: bool = False,
) -> Path:
    """Return a file of a repository; a damaged one is downloaded again, if it may be.

    Raises:
        WeightsError: it is damaged, or not there.
        OSError: it cannot be had.
    """
    problem: str | None = f"{repo}: its repository has no {file}"
    for again in (False, True):
        if offline and again:
            break
        path = _file(repo, file, revision, offline=offline, force_download=again)
        if path is None:
            break
        if (problem := damage(path, sha256)) is None:
            return path
    raise WeightsError(problem or file)


def _file(repo: str, file: str, revision: str, **given: Any) -> Path | None:
    """Return a file of a repository; None: it has none of that name, as far as known.

    Raises:
        OSError: it cannot be had.
    """
    from huggingface_hub import errors

    try:
        path = _snapshot(repo, revision, (file,), **given) / file
    except errors.LocalEntryNotFoundError:
        if given["offline"]:
            return None
        raise
    return path if path.is_file() else None


def _snapshot(
    repo: str,
    revision: str | None,
    names: Sequence[str],
    *,
    offline: bool,
    force_download: bool = False,
) -> Path:
    """Return the folder of a commit in the cache, with what it has of these files.

    Raises:
        OSError, ValueError: it cannot be had.
    """
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            repo,
            revision=revision,
            allow_patterns=[*names],
            local_files_only=offline,
            force_download=force_download,
            tqdm_class=_Bar,
            # As the environment is now: huggingface_hub reads it when it is imported.
            cache_dir=cache_folder(),
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    )


def damage(path: Path, sha256: str | None) -> str | None:
    """Say what is wrong with a file that should have this hash, or that of its name."""
    name = Path(os.readlink(path)).name if path.is_symlink() else ""
    stored = name if re.fullmatch(r"[0-9a-f]{64}", name) else None
    if stored is None and sha256 is None:
        return None
    got = sha256_of(path)
    if stored not in (None, got):
        return f"{path}: damaged (SHA-256 was {stored}, now is {got})"
    if sha256 not in (None, got):
        return f"{path}: SHA-256 expected {sha256}, got {got}"
    return None


def cache_folder() -> str:
    from huggingface_hub import constants

    return os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE
