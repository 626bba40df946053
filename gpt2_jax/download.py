"""Files from the network: mirrors in turn, hash-checked, size-capped, atomic."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from gpt2_jax.errors import UserError

TIMEOUT_SECONDS = 30  # to connect, and between two chunks
CHUNK_BYTES = 1 << 20


def cache_dir() -> Path:
    """Return the user's cache folder for this package; it may not exist yet."""
    return Path(platformdirs.user_cache_dir("gpt2-jax"))


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str,
    max_bytes: int,
    error: type[UserError],
) -> Path:
    """Fetch the first of `urls` that gives the file with this hash, into `target`.

    A file that is not whole and right never stands at `target`, not for a moment.

    Raises:
        error: no mirror gave the file; every mirror and its failure is listed.
    """
    import requests  # slow to import, and rarely needed

    failures = []
    target.parent.mkdir(parents=True, exist_ok=True)
    for url in urls:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                got = _fetch(requests, url, file, max_bytes)
            if got != sha256:
                raise ValueError(f"SHA-256 expected {sha256}, got {got}")
            os.replace(name, target)
            return target
        except (requests.RequestException, ValueError, OSError) as failure:
            failures.append(f"{url}: {failure}")
        finally:
            Path(name).unlink(missing_ok=True)
    raise error(f"{target.name} could not be downloaded: " + "; ".join(failures))


def _fetch(requests, url: str, file, max_bytes: int) -> str:
    digest, size = hashlib.sha256(), 0
    with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response:
        response.raise_for_status()
        for hop in [*response.history, response]:
            if url.startswith("https:") and not hop.url.startswith("https:"):
                raise ValueError(f"redirected to plain http ({hop.url})")
        for chunk in response.iter_content(CHUNK_BYTES):
            size += len(chunk)
            if size > max_bytes:
                raise ValueError(f"more than the {max_bytes} bytes expected")
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
