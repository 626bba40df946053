"""What to do about bytes that are not in the encoding: only advice that works."""

from __future__ import annotations

import codecs
import re
from typing import Any

from gpt2_jax.errors import DataError

# Tried in this order; those that leave control characters are no text.
_CANDIDATES = ("cp1252", "mac_roman", "cp1251", "gb18030", "shift_jis", "latin-1")

_MAX_SHOWN = 3

_MAX_LOOK = 64 << 20  # bytes that are looked through for the advice

_CHUNK = 1 << 20


class EncodingError(DataError):
    """Bytes are not in the encoding that was said."""


_BROKEN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]")


def advise(
    where: str, error: UnicodeDecodeError, raw: bytes, stream: Any, encoding: str
) -> str:
    """Return a message about the first byte that `encoding` does not have.

    The rest of a file is looked through: how many bytes are broken, and which
    encodings have all of them. A stream that may never end is not waited for.
    """
    data = bytes(error.object)
    byte = data[error.start] if error.start < len(data) else data[-1]
    shown = encoding.removesuffix("-sig").upper()
    start = f"{where}: byte 0x{byte:02x} is not {shown}"
    if not _ends(stream):
        return f"{start}; say --encoding, or --encoding-errors replace"
    # `raw` begins at the start of the read that failed, `data` a few bytes before it.
    rest = bytearray(data)
    while len(rest) < _MAX_LOOK and (more := stream.read(_CHUNK)):
        rest += more
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    decoded = decoder.decode(bytes(rest), final=True)
    broken = decoded.count("\ufffd")
    sound = sum(c > "\x7f" for c in decoded) - broken
    counted = f"{start} ({broken} broken {'byte' if broken == 1 else 'bytes'})"
    replace = "--encoding-errors replace puts \ufffd in their place"
    if encoding.startswith("utf-8") and sound > broken:
        return f"{counted}; the rest is {shown}: {replace}"
    found = _readable(bytes(rest), error.start)
    if not found:
        return f"{counted}; {replace}"
    examples = " or ".join(f"--encoding {name} ({text!r})" for name, text in found)
    return f"{counted}; if it reads right: {examples}; {replace}"


def _ends(stream: Any) -> bool:
    """Is it a file, and not a pipe or a terminal?"""
    try:
        return not hasattr(stream, "seekable") or stream.seekable()
    except ValueError:
        return False


def _readable(data: bytes, place: int) -> list[tuple[str, str]]:
    """Return the encodings that have every byte, and what stands at `place` in each."""
    found: list[tuple[str, str]] = []
    start = max(place - 12, data.rfind(b"\n", 0, place) + 1)
    end = min(place + 12, data.find(b"\n", place) % (len(data) + 1))
    for name in _CANDIDATES:
        try:
            text = data.decode(name)
        except UnicodeError:
            continue
        if _BROKEN.search(text):
            continue
        shown = data[start:end].decode(name, "ignore").strip()
        if shown not in [text for _, text in found]:
            found.append((name, shown))
    return found[:_MAX_SHOWN]
