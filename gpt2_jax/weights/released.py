"""The released GPT-2s by size: from the cache of the hub, or downloaded into it."""

from __future__ import annotations

import dataclasses
import logging
import types
from collections.abc import Mapping
from pathlib import Path

from gpt2_jax.errors import WeightsError
from gpt2_jax.storage.download import forbidden_by
from gpt2_jax.storage.sealed import sha256_of
from gpt2_jax.weights import files, hub
from gpt2_jax.weights.hub_errors import in_words

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Mirror:
    """One file on the hub; with a hash, the revision is the commit that has it."""

    repo: str
    file: str = files.SINGLE
    revision: str = "main"
    sha256: str | None = None
    former: str | None = None  # the repo's old name, under which many have it cached

    @property
    def title(self) -> str:
        """What a user may look for on the hub."""
        return f"{self.repo}/{self.file} at {self.revision}"


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
        path, problems = cached(mirror)
        if path is not None:
            return path
        failures += problems
    if forbidden := forbidden_by(offline):
        raise WeightsError(
            f"{name}: not in {hub.cache_folder()}, and {forbidden} forbids to download "
            "it; " + "; ".join([*failures, "allow it once, or give a path to weights"])
        )
    for mirror in MIRRORS[name]:
        log.info(f"{name}: downloading {mirror.title}")
        try:
            with in_words(mirror.repo, mirror.revision, None):
                hub.ask(mirror.repo, mirror.revision)
                path = hub.download(
                    mirror.repo, mirror.file, mirror.revision, mirror.sha256
                )
        except WeightsError as error:
            failures.append(f"{mirror.title}: {error}")
            continue
        if mirror.sha256 is None:
            log.info(
                f"{name}: gpt2-jax knows no SHA-256 of this file; kept to notice a "
                f"later change: {sha256_of(path)}"
            )
        return path
    raise WeightsError(f"{name} could not be downloaded: " + "; ".join(failures))


def cached(mirror: Mirror) -> tuple[Path | None, list[str]]:
    """Return a whole file of the revision or of `main`, and what others lack."""

    from huggingface_hub import try_to_load_from_cache

    problems: list[str] = []
    for repo in filter(None, (mirror.repo, mirror.former)):
        for revision in dict.fromkeys((mirror.revision, "main")):
            try:
                found = try_to_load_from_cache(
                    repo, mirror.file, cache_dir=hub.cache_folder(), revision=revision
                )
            except (OSError, ValueError) as error:  # what names a revision is damaged
                problems.append(f"{repo} in the cache of the hub: {error}")
                continue
            if isinstance(found, str):
                if (problem := hub.damage(Path(found), mirror.sha256)) is None:
                    return Path(found), []
                problems.append(problem)
    return None, problems
