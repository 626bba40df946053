"""Which words a prediction rests on: leave each out, and see what changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

MAX_SPANS = 64  # predictions that an explanation may cost, less one

Span = tuple[int, int]


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
    weights = word_weights(predict_proba(variants(text, spans)))
    return list(zip(spans, weights, strict=True))


def word_spans(text: str, max_spans: int) -> list[Span]:
    """Return (start, end) of each word, or of each group of neighbouring words."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    group = -(-len(words) // max_spans) or 1
    return [
        (words[i][0], words[min(i + group, len(words)) - 1][1])
        for i in range(0, len(words), group)
    ]


def variants(text: str, spans: Sequence[Span]) -> list[str]:
    """Return `text`, and `text` without each of `spans`."""
    return [text, *(text[:start] + text[end:] for start, end in spans)]


def word_weights(rows: np.ndarray) -> list[float]:
    """Return the weights that the probabilities [1 + N, C] of the variants mean."""
    label = rows[0].argmax()
    return (rows[0, label] - rows[1:, label]).tolist()
