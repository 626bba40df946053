"""Large files from the network: a download that broke off goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gpt2_jax.storage import download

ATTEMPTS = 10  # connections of one download, each of which gave some bytes

PAUSE_SECONDS = 1.0


class _BrokeOffError(Exception):
    """A connection gave some bytes and then failed: worth another one."""


def fetch(url: str, partial: Path, *, max_bytes: int, title: str) -> Mapping[str, str]:
    """Download `url` into `partial`, after the bytes that are there already.

    They are kept when this fails, with the server's ETag beside them: the next call
    asks for the rest of that same version, and starts again if there is another one.

    Returns:
        the headers of all answers on the way; those of an earlier one come first.

    Raises:
        requests.RequestException: the server cannot be had or refuses.
        ValueError: it sends too much, sends what was not asked for, breaks off too
            often, or leads to plain http.
    """
    failure = None
    for _ in range(ATTEMPTS):
        try:
            return _go_on(url, partial, max_bytes, title)
        except _BrokeOffError as error:
            failure = error
            time.sleep(PAUSE_SECONDS)
    raise ValueError(f"broke off {ATTEMPTS} times; the last time: {failure}")


def discard(partial: Path) -> None:
    """Remove what `fetch` left."""
    partial.unlink(missing_ok=True)
    finish(partial)


def finish(partial: Path) -> None:
    """Remove what is beside a partial that is whole."""
    _etag_file(partial).unlink(missing_ok=True)


def _go_on(url: str, partial: Path, max_bytes: int, title: str) -> Mapping[str, str]:
    import requests  # slow to import, and rarely needed

    start, headers = 0, {"Accept-Encoding": "identity"}
    if partial.is_file() and _etag_file(partial).is_file():
        start = partial.stat().st_size
    if start:
        # If-Range: the whole file instead, if it is no longer the same one
        etag = _etag_file(partial).read_text("utf-8")
        headers |= {"Range": f"bytes={start}-", "If-Range": etag}
    try:
        with download.open_url(url, headers) as response:
            start = _check_start(response, start)
            _receive(response, partial, start, max_bytes, title)
            return _all_headers(response)
    except requests.HTTPError as error:
        status = None if error.response is None else error.response.status_code
        if start and status == 416:  # nothing comes after `start`
            discard(partial)
            raise _BrokeOffError(str(error)) from error
        raise


def _check_start(response: Any, start: int) -> int:
    """Return the offset of the body: `start`, or 0 if the server sends all of it."""
    if response.status_code != 206:
        return 0
    sent = response.headers.get("Content-Range", "")
    if not start or not sent.startswith(f"bytes {start}-"):
        raise ValueError(f"asked for the bytes from {start}, got {sent or 'others'}")
    return start


def _receive(
    response: Any, partial: Path, start: int, max_bytes: int, title: str
) -> None:
    import requests

    length = int(response.headers.get("Content-Length", 0))
    if start + length > max_bytes:
        raise ValueError(f"{start + length} bytes, more than the {max_bytes} expected")
    size = start
    with (
        partial.open("ab" if start else "wb") as file,
        tqdm(
            desc=title,
            total=start + length if length else None,
            initial=start,
            unit="B",
            unit_scale=True,
            disable=None,  # where standard error is no terminal
        ) as bar,
    ):
        if not start:
            _keep_etag(partial, response.headers.get("ETag", ""))
        try:
            for chunk in download.chunks(response):
                size += len(chunk)
                if size > max_bytes:
                    raise ValueError(f"more than the {max_bytes} bytes expected")
                file.write(chunk)
                bar.update(len(chunk))
        except requests.RequestException as error:
            if size > start:
                raise _BrokeOffError(str(error)) from error
            raise


def _keep_etag(partial: Path, etag: str) -> None:
    # A weak one (W/...) may not stand in If-Range: RFC 9110, 13.1.5.
    if etag.startswith('"'):
        _etag_file(partial).write_text(etag, "utf-8")
    else:
        _etag_file(partial).unlink(missing_ok=True)


def _etag_file(partial: Path) -> Path:
    return partial.with_name(partial.name + ".etag")


def _all_headers(response: Any) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for hop in reversed([*response.history, response]):
        headers |= {name.lower(): value for name, value in hop.headers.items()}
    return headers
