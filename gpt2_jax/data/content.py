"""The bytes of a file or of a stream, unpacked as they are read and never for ever."""

from __future__ import annotations

import bz2
import contextlib
import glob
import gzip
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Generator
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from gpt2_jax.errors import DataError, DeviceError, did_you_mean_path
from gpt2_jax.storage import bucket

STDIN = "-"
NAMED = ("demo", "sms-spam", "imdb")
MEMORY = "memory"  # the source where Python gave the rows

MAX_BYTES = 4 << 30  # of a file when unpacked; a few kB of gzip can hold more

UNPACK_ERRORS = (EOFError, zlib.error, lzma.LZMAError)  # and OSError without a number


def _zstandard(raw: BinaryIO) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise DeviceError(
            ".zst needs the extra: pip install 'gpt2-jax[data]'"
        ) from None
    return pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")


PACKED: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _zstandard,
}
_KINDS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}


# How files begin that are taken for text, by their names.
_BEGINNINGS = {
    rb"PK\x03\x04": "a .zip or an .xlsx; give it that name",
    rb"\x1f\x8b": "packed by gzip; give it a name that ends in .gz",
    rb"BZh\d1AY&SY": "packed by bzip2; give it a name that ends in .bz2",
    rb"\xfd7zXZ\0": "packed by xz; give it a name that ends in .xz",
    rb"\x28\xb5\x2f\xfd": "packed by zstd; give it a name that ends in .zst",
    rb"PAR1": "a Parquet file; give it a name that ends in .parquet",
    rb"ARROW1\0": "an Arrow file for random access; write a stream, or Parquet",
    rb"\xd0\xcf\x11\xe0": "a file of an old Office; save it as .xlsx",
    rb"\x80[\x02-\x05]": "a pickle; write it as .csv or .parquet",
    rb"(?s:.{257})ustar": "a .tar; unpack it, and name the folder",
    rb"version https://git-lfs\.github\.com/spec": (
        "a pointer of Git LFS; get the file itself (git lfs pull)"
    ),
}


def what_it_is(raw: bytes) -> str | None:
    """Return what a file is that begins so, and what to do; None: it may be a text."""
    found = (told for start, told in _BEGINNINGS.items() if re.match(start, raw))
    return next(found, None)


def suffixes(name: str | PurePath) -> tuple[str, str]:
    """Return the suffix of the content and that of its packing, in small letters."""
    path = PurePath(name)
    last = path.suffix.lower()
    if last not in PACKED:
        return last, ""
    return PurePath(path.stem).suffix.lower(), last


class _Unpacked:
    """A packed stream: damage is a DataError, and so is more than MAX_BYTES."""

    def __init__(self, raw: BinaryIO, name: str, packing: str) -> None:
        self._name, self._packing, self._left = name, packing, MAX_BYTES
        with self._errors():
            self._stream = PACKED[packing](raw)

    def read(self, size: int = -1) -> bytes:
        size = self._left + 1 if size < 0 else size
        read = getattr(self._stream, "read1", self._stream.read)
        if size > self._left:  # the rest, whole
            read = self._stream.read
        with self._errors():
            content = read(size)
        self._left -= len(content)
        if self._left < 0:
            raise DataError(
                f"{self._name}: unpacks to more than {MAX_BYTES / 1e9:.1f} GB; split "
                "the file"
            )
        return content

    @contextlib.contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except (*UNPACK_ERRORS, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk
            kind = _KINDS[self._packing]
            raise DataError(
                f"{self._name}: damaged or no {kind} ({error}); get it again"
            ) from None


def unpacked(raw: BinaryIO, name: str) -> Any:
    """Return a stream of the content of `raw`; the suffix of `name` tells how."""
    packing = suffixes(name)[1]
    return _Unpacked(raw, name, packing) if packing else raw


@contextlib.contextmanager
def open_raw(path: Path) -> Generator[BinaryIO]:
    """Open a file as it is, packed or not.

    Raises:
        DataError: it cannot be opened or read.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder; expected a file")
    try:
        with path.open("rb") as raw:
            yield raw
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file{did_you_mean_path(path, NAMED)}"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a NUL, or half a character, in the path
        if "null" not in str(error) and not isinstance(error, UnicodeError):
            raise
        raise DataError(f"{path}: cannot be read ({error})") from error


@contextlib.contextmanager
def open_input(path: Path) -> Generator[Any]:
    """Open a file; what is packed (.gz, .bz2, .xz, .zst) is unpacked as it is read.

    Raises:
        DataError: it cannot be opened or read, is not what its suffix says, or unpacks
            to too much.
    """
    with open_raw(path) as raw:
        yield unpacked(raw, str(path))


def read_bytes(path: Path) -> bytes:
    """Read a file whole; raises as `open_input` does."""
    with open_input(path) as file:
        return file.read()


def stdin() -> BinaryIO:
    return sys.stdin.buffer


def expand(name: str) -> list[str]:
    """Return the files that a pattern names, sorted; a file of that very name first."""
    if bucket.is_url(name) or not glob.has_magic(name):
        return [name]
    try:
        if Path(name).exists():
            return [name]
        found = sorted(glob.glob(name, recursive=True))
    except ValueError:  # a path that no disk can have
        return [name]
    if not found:
        raise DataError(f"{name}: no such file, and no file has such a name")
    return found
