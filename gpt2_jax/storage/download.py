"""Files from the network: mirrors in turn, hash-checked, size-capped, atomic."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from gpt2_jax.errors import DeviceError, UserError
from gpt2_jax.storage.atomic import replacing

TIMEOUT_SECONDS = 30  # to connect, and between two chunks

CHUNK_BYTES = 1 << 20


# What is slower for so long is given up, though it never falls silent.
SLOWEST_BYTES, SLOWEST_SECONDS = 1000, 60  # per second


def cache_dir() -> Path:
    """Return the user's cache folder for this package; it may not exist yet.

    Raises:
        DeviceError: the user has no home folder, and names no other.
    """
    try:
        folder = Path(platformdirs.user_cache_dir("gpt2-jax"))
    except RuntimeError:
        folder = Path("~")
    if not folder.is_absolute():  # older versions of platformdirs return "~/.cache"
        raise DeviceError(
            "no home folder to keep files in: set HOME or XDG_CACHE_HOME to a folder"
        )
    return folder


def forbidden_by(offline: bool) -> str | None:
    """Return what forbids the network: a flag, the environment, or nothing (None)."""
    if offline:
        return "--offline"
    # what users of huggingface_hub set
    value = os.environ.get("HF_HUB_OFFLINE", "")
    if value.upper() in ("1", "ON", "YES", "TRUE"):
        return f"HF_HUB_OFFLINE={value}"
    return None


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str,
    max_bytes: int,
    error: type[UserError],
    offline: bool = False,
) -> Path:
    """Fetch the first of `urls` that gives the file with this hash, into `target`.

    A file that is not whole and right never stands at `target`, not for a moment.

    Raises:
        error: the network is forbidden, or no mirror gave the file; every mirror and
            its failure is listed.
    """
    if forbidden := forbidden_by(offline):
        raise error(
            f"{target}: not there, and {forbidden} forbids to download it from "
            f"{' or '.join(urls)}"
        )
    import requests  # slow to import, and rarely needed

    failures = []
    with replacing(target) as path:
        for url in urls:
            try:
                with path.open("wb") as file:
                    got = _fetch(url, file, max_bytes)
                if got != sha256:
                    raise ValueError(f"SHA-256 expected {sha256}, got {got}")
                return target
            except (requests.RequestException, ValueError, OSError) as failure:
                failures.append(f"{url}: {failure}")
        raise error(f"{target.name} could not be downloaded: " + "; ".join(failures))


def _fetch(url: str, file: Any, max_bytes: int) -> str:
    digest, size = hashlib.sha256(), 0
    with open_url(url) as response:
        for chunk in chunks(response):
            size += len(chunk)
            if size > max_bytes:
                raise ValueError(f"more than the {max_bytes} bytes expected")
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def chunks(response: Any) -> Iterator[bytes]:
    """Yield the body of a `requests.Response` as it comes.

    Raises:
        requests.RequestException: it breaks off, or is too slow.
    """
    import requests
    import urllib3

    started, size = time.monotonic(), 0
    try:
        # read1 waits for no more than there is; iter_content would, for ever.
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
            yield chunk
            size += len(chunk)
            seconds = time.monotonic() - started
            if seconds >= SLOWEST_SECONDS:
                if size < SLOWEST_BYTES * seconds:
                    raise requests.Timeout(
                        f"{size:,} bytes in {seconds:.0f} s; slower than "
                        f"{SLOWEST_BYTES:,} a second is given up"
                    )
                started, size = time.monotonic(), 0
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error


@contextlib.contextmanager
def open_url(url: str, headers: Mapping[str, str] | None = None) -> Generator[Any]:
    """Yield the streaming `requests.Response` of a GET that succeeded.

    Raises:
        requests.RequestException: it did not.
        ValueError: it leads from https to plain http.
    """
    import requests

    with requests.get(
        url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS
    ) as response:
        refuse_plain_http([hop.url for hop in [*response.history, response]])
        response.raise_for_status()
        yield response


def refuse_plain_http(hops: Sequence[str]) -> None:
    """Raise ValueError where redirects leave https, which the first URL asked for."""
    for hop in hops:
        if hops[0].startswith("https:") and not hop.startswith("https:"):
            raise ValueError(f"redirected to plain http ({hop})")
