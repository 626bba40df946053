"""Vocabularies of byte-level BPE as Hugging Face's files spell them, and their merges.

Each byte is spelled as one printable character, so tokens are plain text there.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

Merges = list[tuple[bytes, bytes]]

_NEVER = {0xC0, 0xC1, *range(0xF5, 0x100)}  # bytes that no UTF-8 has


@functools.cache
def spelling() -> tuple[str, ...]:
    """Return the character of each byte: itself if printable, else one from 256 on.

    Source: openai/gpt-2 `src/encoder.py`, bytes_to_unicode.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return tuple(
        chr(byte if byte in printable else next(others)) for byte in range(256)
    )


@functools.cache
def _bytes() -> dict[str, int]:
    return {character: byte for byte, character in enumerate(spelling())}


def spelled(token: bytes) -> str:
    """Return how the files spell a token."""
    characters = spelling()
    return "".join([characters[byte] for byte in token])


def unspelled(name: str) -> bytes | None:
    """Return the bytes that `name` spells; None: it is not made of such characters."""
    try:
        known = _bytes()
        return bytes([known[character] for character in name])
    except KeyError:
        return None


def read_merges(lines: Sequence[Any]) -> Merges:
    """Return the merges of "a b" lines, or of [a, b] pairs.

    Raises:
        ValueError: something is no merge of two tokens.
    """
    merges: Merges = []
    for line in lines:
        names = line.split(" ") if isinstance(line, str) else line
        parts = [unspelled(name) for name in names if isinstance(name, str)]
        match parts:
            case [bytes(a), bytes(b)] if a and b:
                merges.append((a, b))
            case _:
                raise ValueError(f"{line!r} is no merge of two tokens of bytes")
    return merges


def tokens_of(vocab: Mapping[str, int], merges: Merges) -> dict[bytes, int]:
    """Return the id of every token that merging gives: bytes first, then in order.

    Raises:
        ValueError: a byte or a token is missing, or there twice.
        TypeError: an id is no number.
    """
    single = {bytes([byte]): vocab.get(name) for byte, name in enumerate(spelling())}
    missing = [byte[0] for byte, token in single.items() if token is None]
    if lacking := sorted({*missing} - _NEVER):
        raise ValueError(
            f"the vocabulary lacks {len(lacking)} of the bytes of UTF-8, such as "
            f"0x{lacking[0]:02x}"
        )
    known = {byte: token for byte, token in single.items() if token is not None}
    tokens = dict(sorted(known.items(), key=lambda item: item[1]))
    tokens |= {bytes([byte]): -1 for byte in missing}  # they never come
    for a, b in merges:
        token = vocab.get(spelled(a + b))
        if token is None:
            raise ValueError(f"{spelled(a + b)!r} is merged, but not in the vocabulary")
        if a + b in tokens:
            raise ValueError(f"{spelled(a + b)!r} is made by two merges")
        tokens[a + b] = token
    ids = [token for token in tokens.values() if token != -1]
    if any(type(token) is not int or not 0 <= token < 2**31 for token in ids):
        raise TypeError("an id of the vocabulary is no number from 0 on")
    if len({*ids}) < len(ids):
        raise ValueError("two tokens of the vocabulary have one id")
    return tokens


def check_merges(tokens: Mapping[bytes, int], merges: Merges) -> None:
    """Refuse merges that tiktoken, which merges by the joint bytes, would do otherwise.

    What merging comes to inside the bytes of a token does not depend on what is around
    them, as long as nothing is merged across their ends. So where merging these bytes
    alone ends with the pair that is to be merged, no other pair ever becomes it.

    Raises:
        ValueError: there is such a merge; training a BPE makes none.
    """
    ranks = {token: rank for rank, token in enumerate(tokens)}
    for a, b in merges:
        token = a + b
        cuts = range(1, len(token))
        one = sum(token[:cut] in ranks and token[cut:] in ranks for cut in cuts) == 1
        if not (one and a in ranks and b in ranks) and last_parts(token, ranks) != [
            a,
            b,
        ]:
            raise ValueError(
                f"{spelled(token)!r} is not what merging its bytes comes to; retrain "
                "the vocabulary"
            )


def last_parts(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """Return what merging the bytes of `token` comes to before it is made."""
    parts = [bytes([byte]) for byte in token]
    none = len(ranks)
    while len(parts) > 2:
        pairs = [ranks.get(a + b, none) for a, b in itertools.pairwise(parts)]
        best = min(range(len(pairs)), key=pairs.__getitem__)
        if pairs[best] == none:
            break
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts
