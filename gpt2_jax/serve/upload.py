"""A file that a client sends: onto the disk, within limits, unpacked."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

from starlette.exceptions import HTTPException

from gpt2_jax.config import ServeConfig
from gpt2_jax.data import content
from gpt2_jax.errors import DataError

_CHUNK = 2**20


async def receive(
    parts: AsyncIterator[bytes], file: IO[bytes], config: ServeConfig
) -> None:
    """Write the body of a request to `file`.

    A client has `read_timeout` for each `max_body` bytes.

    Raises:
        HTTPException: it is larger than `max_file`, or comes too slowly.
    """
    start, size = asyncio.get_running_loop().time(), 0
    try:
        async with asyncio.timeout(config.read_timeout) as patience:
            async for part in parts:
                size += len(part)
                if size > config.max_file:
                    raise HTTPException(413, _too_large(config.max_file))
                file.write(part)
                share = 1 + size / config.max_body
                patience.reschedule(start + share * config.read_timeout)
    except TimeoutError:
        raise HTTPException(408, "the request came too slowly") from None
    file.flush()


@contextlib.contextmanager
def unpacked(path: Path, name: str, limit: int) -> Iterator[tuple[Path, str]]:
    """Yield the file at `path` and its name, unpacked if its name asks for it.

    Raises:
        DataError: it is damaged, or has more than `limit` bytes when unpacked.
    """
    packing = content.suffixes(name)[1]
    _check_archive(path, name, limit)
    if not packing:
        yield path, name
        return
    with tempfile.NamedTemporaryFile() as file:
        with path.open("rb") as raw:
            stream = content.unpacked(raw, name)
            while part := stream.read(_CHUNK):
                file.write(part)
                if file.tell() > limit:
                    raise DataError(f"{name}: when unpacked {_too_large(limit)}")
        file.flush()
        yield Path(file.name), name[: -len(packing)]


def _check_archive(path: Path, name: str, limit: int) -> None:
    """Refuse an archive, as .zip and .xlsx are, that would not fit the memory."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > limit:
            raise DataError(f"{name}: when unpacked {_too_large(limit)}")
        if any(content.suffixes(member.filename)[1] for member in members):
            raise DataError(f"{name}: holds packed files; unpack them")


def _too_large(limit: int) -> str:
    return f"the file is larger than {limit} bytes"


def free_space(config: ServeConfig) -> bool:
    """Is there room for a file, and for it unpacked?"""
    return shutil.disk_usage(tempfile.gettempdir()).free > 2 * config.max_file
