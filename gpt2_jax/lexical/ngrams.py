"""What the linear models count in a text, as scikit-learn's TfidfVectorizer does."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_WORD = re.compile(r"(?u)\b\w\w+\b")  # scikit-learn's token_pattern
_CHARS, _WORDS = (2, 5), (1, 2)  # the shortest and longest n-grams

# The analyzers, and the arguments of a TfidfVectorizer that counts the same.
CHARS, WORDS = "chars", "words"
VECTORIZERS: Mapping[str, Mapping[str, Any]] = {
    CHARS: {"analyzer": "char_wb", "ngram_range": _CHARS},
    WORDS: {"analyzer": "word", "ngram_range": _WORDS},
}


def character_ngrams(text: str) -> Iterator[str]:
    """Yield the n-grams of 2 to 5 characters within each word and the spaces at it."""
    low, high = _CHARS
    for word in text.lower().split():
        padded = f" {word} "
        for n in range(low, high + 1):
            yield from (padded[i : i + n] for i in range(max(len(padded) - n, 0) + 1))
            if len(padded) <= n:  # longer ones are the same
                break


def word_ngrams(text: str) -> Iterator[str]:
    """Yield the words of two characters and more, and the pairs of neighbours."""
    words = _WORD.findall(text.lower())
    yield from words
    yield from (f"{one} {other}" for one, other in itertools.pairwise(words))


NGRAMS: Mapping[str, Callable[[str], Iterator[str]]] = {
    CHARS: character_ngrams,
    WORDS: word_ngrams,
}
