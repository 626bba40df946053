"""Where a text is cut: what a model reads of it."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence

from gpt2_jax.config import Long
from gpt2_jax.tokenizer import Tokenizer, gpt2


def part_read(
    text: str,
    max_length: int,
    tokenizer: Tokenizer | None = None,
    long: Long = "cut",
) -> str:
    """Return the beginning of `text` that its first `max_length` tokens hold.

    The tokenizer is GPT-2's where none is given. Unless long texts are cut, their end
    is read too, and all is returned.
    """
    if long != "cut":
        return text
    ends = (tokenizer or gpt2()).byte_ends(text)
    if not text or len(ends) <= max_length:
        return text
    size = ends[max_length - 1]
    return text[: bisect.bisect_right(list(byte_ends(text, size)), size)]


def parts_read(
    texts: Sequence[str],
    lengths: Iterable[int],
    max_length: int,
    tokenizer: Tokenizer,
    long: Long = "cut",
) -> list[str]:
    """Return `part_read` of each text; those with fewer tokens are read whole.

    Args:
        lengths: tokens of each text, perhaps after the cut.
    """
    return [
        part_read(text, max_length, tokenizer, long) if n >= max_length else text
        for text, n in zip(texts, lengths, strict=True)
    ]


def byte_ends(text: str, size: int) -> Iterator[int]:
    """Yield where each character ends in UTF-8, up to and over `size` bytes."""
    end = 0
    for character in text:
        end += len(character.encode("utf-8", "surrogatepass"))
        yield end
        if end > size:
            return


def count_cut(
    texts: Sequence[str], max_length: int, tokenizer: Tokenizer, long: Long = "cut"
) -> int:
    """Return how many texts are longer than `max_length` tokens, and not read whole."""
    if long == "windows":
        return 0
    # A token is at least one byte of the text, but for one before it, and a space:
    # few texts need their tokens counted.
    encode, least = tokenizer.encode, max_length - 2
    sizes = (len(text.encode("utf-8", "surrogatepass")) for text in texts)
    may_be = [t for t, n in zip(texts, sizes, strict=True) if n > least]
    return sum(len(encode(text)) > max_length for text in may_be)
