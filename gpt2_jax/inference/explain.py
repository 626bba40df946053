"""Which words a prediction rests on, by occlusion or by integrated gradients."""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from gpt2_jax.engine.cut import byte_ends
from gpt2_jax.evaluation.decision import decide
from gpt2_jax.inference.gradients import Attribution
from gpt2_jax.tokenizer import Tokenizer

OCCLUSION, GRADIENTS = METHODS = ("occlusion", "gradients")


MAX_SPANS = 64  # predictions that an explanation may cost, less one

BATCH_TEXTS = 4096  # texts without a word that are predicted at once


# Thai, Lao and Tibetan, Myanmar, Khmer; signs, kana and characters of Chinese and
# Japanese, and their full-width forms.
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3001-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff00-\uff9f\U00020000-\U0003ffff"
)
_MARKS = "".join(
    c for c in map(chr, range(0x3100)) if unicodedata.category(c)[0] == "M"
)

_LONG_WORD = 40  # characters; a link, or a text whose spaces are lost

_WORD = re.compile(rf"[{_UNSPACED}][{_MARKS}]*|[^\s{_UNSPACED}]{{1,{_LONG_WORD}}}")

Span = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Word:
    """`text[start:end]`, and what it adds to the label; below 0 it speaks against."""

    word: str
    start: int
    end: int
    weight: float


class Explainable(Protocol):
    """What an explanation needs of a classifier."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    def part_read(self, text: str) -> str:
        """Return the beginning of `text` up to where it is read."""
        ...

    @property
    def threshold(self) -> tuple[int, float] | None:
        """What decides between the classes; see `decide`."""
        ...

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return probabilities [N, C]."""
        ...

    def attributions(self, texts: Sequence[str]) -> list[Attribution]:
        """Return the integrated gradients of each text."""
        ...


def explain(
    classifier: Explainable, texts: Sequence[str], method: str
) -> list[list[Word]]:
    """Return the words of the part of each text that the model reads.

    Their weights are about the label that the classifier gives, threshold included.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r} is not one of {', '.join(METHODS)}")
    own = classifier.tokenizer
    parts = [classifier.part_read(text) for text in texts]
    if method == GRADIENTS:
        found = [
            _by_gradients(part, attribution.tokens, own)
            for part, attribution in zip(
                parts, classifier.attributions(parts), strict=True
            )
        ]
    else:
        found = list(_by_occlusion(classifier, texts, parts))
    return [
        [Word(part[start:end], start, end, weight) for (start, end), weight in words]
        for part, words in zip(parts, found, strict=True)
    ]


def _by_occlusion(
    classifier: Explainable, texts: Sequence[str], parts: Sequence[str]
) -> Iterator[list[tuple[Span, float]]]:
    """Yield the words of the part of each text that is read, many in one call."""
    spans = [word_spans(part, MAX_SPANS) for part in parts]
    step = BATCH_TEXTS // (MAX_SPANS + 1)
    for start in range(0, len(texts), step):
        chosen = spans[start : start + step]
        changed = [
            variants(text, part, s)
            for text, part, s in zip(texts[start:], parts[start:], chosen, strict=False)
        ]
        rows = classifier.predict_proba(list(itertools.chain(*changed)))
        ends = np.cumsum([len(v) for v in changed])
        for own, s in zip(np.split(rows, ends[:-1]), chosen, strict=True):
            label = int(decide(own[:1], classifier.threshold)[0])
            yield list(zip(s, word_weights(own, label), strict=True))


def _by_gradients(
    text: str, tokens: np.ndarray, tokenizer: Tokenizer
) -> list[tuple[Span, float]]:
    """Sum over the tokens of each word; a space belongs to the word behind it."""
    spans = word_spans(text)
    if not spans:
        return []
    token_ends = np.asarray(tokenizer.byte_ends(text))
    ends = [0, *byte_ends(text, int(token_ends[-1]))]
    word_ends = [ends[end] for _, end in spans]
    words = np.searchsorted(word_ends, token_ends).clip(max=len(spans) - 1)
    weights = np.bincount(words, tokens[: len(words)], minlength=len(spans))
    return list(zip(spans, weights.tolist(), strict=True))


def occlusion(
    predict_proba: Callable[[Sequence[str]], np.ndarray],
    text: str,
    *,
    max_spans: int = MAX_SPANS,
) -> list[tuple[Span, float]]:
    """Return what each word of `text` adds to the probability of its label.

    A word is `text[start:end]`; of a text with more than `max_spans` of them,
    neighbours are taken together. The weight is the probability of the predicted label
    less that of the text without the word: an approximation, blind to words that only
    count together (Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional
    Networks", section 4.2).
    """
    spans = word_spans(text, max_spans)
    rows = predict_proba(variants(text, text, spans))
    return list(zip(spans, word_weights(rows, int(rows[0].argmax())), strict=True))


def word_spans(text: str, max_spans: int | None = None) -> list[Span]:
    """Return (start, end) of each word, or of each group of neighbouring words.

    In scripts that put no spaces between words each character is one, with its marks;
    of others, a run of more than `_LONG_WORD` characters is cut.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    group = -(-len(words) // (max_spans or len(words) or 1)) or 1
    return [
        (words[i][0], words[min(i + group, len(words)) - 1][1])
        for i in range(0, len(words), group)
    ]


def variants(text: str, part: str, spans: Sequence[Span]) -> list[str]:
    """Return `text`, and the `part` of it that is read without each of `spans`."""
    return [text, *(part[:start] + part[end:] for start, end in spans)]


def word_weights(rows: np.ndarray, label: int) -> list[float]:
    """Return what the probabilities [1 + N, C] of the variants mean for `label`."""
    return (rows[0, label] - rows[1:, label]).tolist()
