"""A stream of bytes as characters and as lines; both know where they are."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Any

from gpt2_jax.data.content import what_it_is
from gpt2_jax.data.encodings import EncodingError, advise
from gpt2_jax.errors import DataError

CHUNK_BYTES = 2**20

MAX_LINE = 64 << 20  # characters of a line, and of a field


def characters(
    stream: Any, name: str, encoding: str = "utf-8", errors: str = "strict"
) -> Iterator[str]:
    """Yield the text of `stream`, as each read gives it, without a byte order mark.

    What stands before a broken byte comes before the error.

    Raises:
        DataError: bytes that `encoding` does not have, a NUL, or no text at all.
    """
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    line, first, read = 1, True, getattr(stream, "read1", stream.read)
    done = False
    while not done:
        raw = read(CHUNK_BYTES)
        done = not raw
        if first and (other := what_it_is(raw)):
            raise DataError(f"{name}: {other}")
        pending = len(decoder.getstate()[0])
        error = None
        try:
            text = decoder.decode(raw, final=done)
        except UnicodeError as caught:
            error = caught
            text = _before(decoder, raw, pending, caught)
        nul = text.find("\0")
        text = text if nul < 0 else text[:nul]
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            line += text.count("\n")
            yield text
        where = f"{name}, line {line}"
        if nul >= 0 or (isinstance(error, UnicodeError) and _is_utf16(raw, line)):
            raise DataError(f"{where}: a NUL byte; {_utf16(raw)}")
        if isinstance(error, UnicodeDecodeError):
            raise EncodingError(advise(where, error, raw, stream, encoding))
        if error is not None:  # of codecs that are no plain tables
            raise DataError(f"{name}: not {encoding} ({error})")


def _before(decoder: Any, raw: bytes, pending: int, error: UnicodeError) -> str:
    """Return what can be decoded before the byte that `error` is about."""
    if not isinstance(error, UnicodeDecodeError) or error.start < pending:
        return ""
    try:
        return decoder.decode(raw[: error.start - pending])
    except UnicodeError:
        return ""


def _is_utf16(raw: bytes, line: int) -> bool:
    mark = raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return line == 1 and mark and b"\0" in raw


def _utf16(raw: bytes) -> str:
    """Return what to do about NUL bytes, by where they stand."""
    if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "UTF-16: say --encoding utf-16"
    even, odd = (raw[start:4096:2].count(0) for start in (0, 1))
    if max(even, odd) < 100 * min(even, odd) or max(even, odd) < len(raw[:4096]) / 5:
        return "not a text file"
    return f"it looks like UTF-16: say --encoding utf-16-{'be' if even > odd else 'le'}"


class LineSplitter:
    """Cuts pieces of text into lines, each with its number and its end.

    Only "\\n" ends a line, as strings of JSON may hold U+2028; with `universal` "\\r"
    and "\\r\\n" do too.
    """

    def __init__(self, name: str, *, universal: bool = False) -> None:
        self._name, self._universal = name, universal
        self._number, self._pieces, self._size = 0, list[str](), 0

    def feed(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the lines that `text` completes."""
        if self._universal and self._pieces and self._pieces[-1][-1:] == "\r":
            last = self._pieces.pop()
            self._size -= len(last)
            text = last + text
        position = 0
        for line in io.StringIO(text, newline="" if self._universal else "\n"):
            position += len(line)
            whole = line[-1] == "\n" or (line[-1] == "\r" and position < len(text))
            if not whole or (line[-1] == "\r" and not self._universal):
                self._pieces.append(line)
                self._size += len(line)
            else:
                yield self._next(line)
            if self._size > MAX_LINE:
                raise DataError(
                    f"{self._name}, line {self._number + 1}: longer than "
                    f"{MAX_LINE >> 20} MiB; one text goes on each line"
                )

    def rest(self) -> Iterator[tuple[int, str]]:
        """Yield the last line, where it has no end."""
        if self._pieces:
            yield self._next("")

    def _next(self, line: str) -> tuple[int, str]:
        self._number += 1
        line = "".join([*self._pieces, line])
        self._pieces.clear()
        self._size = 0
        return self._number, line


def split_lines(
    text: Iterator[str], name: str, *, universal: bool = False
) -> Iterator[tuple[int, str]]:
    """Yield (number, line with its end); raises as `LineSplitter` and `text` do."""
    splitter = LineSplitter(name, universal=universal)
    for piece in text:
        yield from splitter.feed(piece)
    yield from splitter.rest()
