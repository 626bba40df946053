"""The released GPT-2s by name: from the Hugging Face cache, or downloaded into it."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import types
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors

from gpt2_jax.config import PRESETS, GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.storage import range_requests
from gpt2_jax.storage.download import forbidden_by
from gpt2_jax.storage.sealed import sha256_of
from gpt2_jax.weights import files, hub_cache
from gpt2_jax.weights.detect import detect_naming

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Mirror:
    """One file on the hub; with a hash, the revision is the commit that has it."""

    repo: str
    file: str = files.SINGLE
    revision: str = "main"
    sha256: str | None = None
    former: str | None = None  # the repo's old name, under which many have it cached


_RASBT = "rasbt/gpt2-from-scratch-pytorch"

MIRRORS: Mapping[str, tuple[Mirror, ...]] = types.MappingProxyType(
    {
        "124M": (
            Mirror(
                "openai-community/gpt2",
                revision="607a30d783dfa663caf39e06633721c8d4cfcd7e",
                sha256="248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
                former="gpt2",
            ),
            Mirror(_RASBT, "gpt2-small-124M.safetensors"),
        ),
        "355M": (
            Mirror("openai-community/gpt2-medium", former="gpt2-medium"),
            Mirror(_RASBT, "gpt2-medium-355M.safetensors"),
        ),
        "774M": (
            Mirror("openai-community/gpt2-large", former="gpt2-large"),
            Mirror(_RASBT, "gpt2-large-774M.safetensors"),
        ),
        "1558M": (
            Mirror("openai-community/gpt2-xl", former="gpt2-xl"),
            Mirror(_RASBT, "gpt2-xl-1558M.safetensors"),
        ),
    }
)


def find(name: str, *, offline: bool = False) -> Path:
    """Return the weights file of the released GPT-2 `name`, downloaded if need be.

    Raises:
        WeightsError: it is not in the cache, and the network is forbidden or no mirror
            gave it; all of them are listed with what was wrong.
    """
    failures: list[str] = []
    for mirror in MIRRORS[name]:
        path, problems = _cached(mirror)
        if path is not None:
            return path
        failures += problems
    if forbidden := forbidden_by(offline):
        raise WeightsError(
            f"{name}: not in {hub_cache.root()}, and {forbidden} forbids to download "
            "it; " + "; ".join([*failures, "allow it once, or give a path to weights"])
        )
    for mirror in MIRRORS[name]:
        try:
            return _download(name, mirror)
        except (OSError, ValueError, WeightsError) as error:  # requests' are OSErrors
            failures.append(f"{_url(mirror)}: {error}")
    raise WeightsError(f"{name} could not be downloaded: " + "; ".join(failures))


def _url(mirror: Mirror) -> str:
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return (
        f"{endpoint.rstrip('/')}/{mirror.repo}/resolve/{mirror.revision}/{mirror.file}"
    )


def _cached(mirror: Mirror) -> tuple[Path | None, list[str]]:
    problems: list[str] = []
    for repo in (mirror.repo, mirror.former):
        if repo is not None:
            path, others = hub_cache.find(
                repo, mirror.file, mirror.revision, mirror.sha256
            )
            if path is not None:
                return path, []
            problems += others
    return None, problems


def _download(name: str, mirror: Mirror) -> Path:
    """Download into the cache.

    Raises:
        OSError, ValueError, WeightsError: it cannot be had, or is not what it should
            be. What came of the right file is kept for the next try.
    """
    partial = hub_cache.partial_of(mirror.repo, mirror.file)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with hub_cache.lock(mirror.repo, mirror.file):
        path, _ = _cached(mirror)
        if path is not None:  # by another process, while this one waited
            return path
        log.info(f"{name}: downloading {_url(mirror)}")
        headers = range_requests.fetch(
            _url(mirror), partial, max_bytes=_most_bytes(PRESETS[name]), title=name
        )
        try:
            sha256 = _check(partial, name, mirror, headers)
            commit = _commit(mirror, headers)
            is_main = mirror.revision == "main"
            range_requests.finish(partial)
            return hub_cache.store(
                mirror.repo, mirror.file, commit, sha256, is_main=is_main
            )
        finally:
            range_requests.discard(partial)


def _check(path: Path, name: str, mirror: Mirror, headers: Mapping[str, str]) -> str:
    """Return the SHA-256 of the file, which must be the one pinned or told.

    Raises:
        ValueError, WeightsError: it is not, or the file is no GPT-2 of this size.
    """
    got = sha256_of(path)
    told = headers.get("x-linked-etag", "").strip('"')
    told = told if hub_cache.is_sha256(told) else None
    expected = mirror.sha256 or told or got
    if got != expected:
        raise ValueError(f"SHA-256 expected {expected}, got {got}")
    if mirror.sha256 is None:
        _check_format(path, PRESETS[name])
        also = "the server told the same; " if told else ""
        log.info(
            f"{name}: gpt2-jax knows no SHA-256 of this file; its sizes and format are "
            f"right; {also}kept to notice a later change: {got}"
        )
    return got


def _check_format(path: Path, config: GPT2Config) -> None:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            shapes = {
                name.removeprefix("transformer."): file.get_slice(name).get_shape()
                for name in list(file.keys())
            }
    except safetensors.SafetensorError as error:
        raise ValueError(f"not a whole safetensors file ({error})") from error
    zeros = {name: np.broadcast_to(0, shape) for name, shape in shapes.items()}
    naming, _ = detect_naming(zeros)
    known = list(naming.expand(config.num_layers))
    missing = {rule.tensor for rule in known if not rule.optional} - {*shapes}
    larger = {rule.tensor for rule in naming.expand(config.num_layers + 1)}
    surplus = (larger - {rule.tensor for rule in known}) & {*shapes}
    wte = next(rule.tensor for rule in known if rule.path == "wte/embedding")
    wte_shape = shapes.get(wte)
    if missing or surplus or wte_shape != [config.vocab_size, config.embed_dim]:
        raise ValueError(
            f"not a GPT-2 of {config.num_layers} layers and width {config.embed_dim}"
        )


def _commit(mirror: Mirror, headers: Mapping[str, str]) -> str:
    if mirror.sha256 is not None:
        return mirror.revision
    commit = headers.get("x-repo-commit", "")
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise ValueError("the server does not tell which commit it sent")
    return commit


def _most_bytes(config: GPT2Config) -> int:
    """Return the size in float32 with masks, an untied head and a large header."""
    width, mask = config.embed_dim, config.max_len**2
    blocks = config.num_layers * (12 * width**2 + 13 * width + mask)
    embeddings = (2 * config.vocab_size + config.max_len + 2) * width
    return 4 * (blocks + embeddings) + (1 << 20)
