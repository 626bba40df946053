"""The bytes of a file or of standard input, unpacked and decoded."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from gpt2_jax.errors import DataError


@contextlib.contextmanager
def open_input(path: Path) -> Iterator[BinaryIO]:
    """Open a file of texts; `.gz` and `.xz` are unpacked as they are read.

    Raises:
        DataError: it cannot be opened.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder; expected a file of texts")
    try:
        with path.open("rb") as raw, contextlib.ExitStack() as stack:
            if path.suffix not in PACKED:
                yield raw
                return
            unpacked = PACKED[path.suffix](raw)
            yield cast(BinaryIO, stack.enter_context(unpacked))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UNPACK_ERRORS as error:
        raise damaged(path, error) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


STDIN = "-"


MAX_BYTES = 4 << 30  # of a file when unpacked; a few kB of gzip can hold more


PACKED = {".gz": gzip.open, ".xz": lzma.open}


UNPACK_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)


def read_bytes(path: Path) -> bytes:
    """Read a file whole; `.gz` and `.xz` are unpacked.

    Raises:
        DataError: it cannot be read, is not what its suffix says, or unpacks to too
            much.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder; expected a file")
    try:
        if path.suffix not in PACKED:
            return path.read_bytes()
        with PACKED[path.suffix](path) as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UNPACK_ERRORS as error:
        raise damaged(path, error) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a NUL, or half a character
        raise DataError(f"{path}: cannot be read ({error})") from error
    if len(content) > MAX_BYTES:
        raise DataError(
            f"{path}: unpacks to more than {MAX_BYTES / 1e9:.1f} GB; split the file"
        )
    return content


def damaged(path: Path, error: BaseException) -> DataError:
    """Return what to raise when one of `UNPACK_ERRORS` came."""
    kind = {".gz": "gzip", ".xz": "xz"}[path.suffix]
    return DataError(f"{path}: damaged or no {kind} ({error}); get it again")


def read_stdin() -> bytes:
    return sys.stdin.buffer.read()


def decode(name: str, raw: bytes, encoding: str = "utf-8") -> str:
    """Return `raw` as text, without a byte order mark.

    Raises:
        DataError: nothing in it, NUL bytes, or bytes that `encoding` does not have.
    """
    if not raw.strip():
        raise DataError(f"{name}: empty; expected a header and labelled texts")
    if encoding == "utf-8":
        encoding = "utf-8-sig"
        if b"\0" in raw:
            line = raw[: raw.index(b"\0")].count(b"\n") + 1
            raise DataError(
                f"{name}, line {line}: a NUL byte; not a text file, or UTF-16: then "
                "say --encoding utf-16"
            )
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"{name}, line {line}: byte 0x{raw[error.start]:02x} is not "
            f"{encoding.removesuffix('-sig').upper()}; name the file's own with "
            "--encoding (cp1252 on Windows), or save it as UTF-8"
        ) from None
    except UnicodeError as error:  # of codecs that are no plain tables
        raise DataError(f"{name}: not {encoding} ({error})") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{name}, line {line}: a NUL; not {encoding}, or no text file")
    return text.removeprefix("\ufeff")
