"""Predictions as lines: JSON for programs, marked words for people."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from gpt2_jax.inference.classifier import Prediction
from gpt2_jax.inference.explain import Word

MARKED = 0.1  # of the largest weight: words below it are not marked


_FOR, _AGAINST, _PLAIN = "\033[1;32m", "\033[1;31m", "\033[0m"


def json_line(
    prediction: Prediction, identity: Any, words: Sequence[Word] | None
) -> str:
    """Return one JSON object; `identity` is the id that the input gave, or None."""
    values = dataclasses.asdict(prediction)
    values["prob"] = round(prediction.prob, 6)
    values["probs"] = {name: round(p, 6) for name, p in prediction.probs.items()}
    if identity is not None:
        values = {"id": identity, **values}
    if words is not None:
        values["explanation"] = [
            {**dataclasses.asdict(word), "weight": round(word.weight, 6)}
            for word in words
        ]
    # An id of a Parquet file may be a date. Half an emoji, which JSON may hold, has no
    # UTF-8; escaped it is JSON again.
    return _printable(json.dumps(values, ensure_ascii=False, default=str))


def text_line(
    prediction: Prediction,
    text: str,
    words: Sequence[Word] | None,
    *,
    top_k: int,
    colour: bool,
) -> str:
    """Return label, probabilities and text, its words marked with their weights.

    Where there are more classes than `top_k`, the likeliest ones are shown.
    """
    probs = list(prediction.probs.items())
    if len(probs) > top_k:
        probs = sorted(probs, key=lambda pair: -pair[1])[:top_k]
    shown = "  ".join(f"{name} {p:.4f}" for name, p in probs)
    marked = mark(text, words or (), colour=colour)
    label = "?" if prediction.label is None else prediction.label
    return _printable(f"{one_line(label)}\t{one_line(shown)}\t{marked}")


# What would end a line or a field, or speak to the terminal.
_CONTROL = {
    code: ascii(chr(code))[1:-1]
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
}


def one_line(text: str) -> str:
    """Return `text` with newlines, tabs and other controls as Python writes them."""
    return text.translate(_CONTROL)


def mark(text: str, words: Sequence[Word], *, colour: bool) -> str:
    """Return `text` with `[word +0.42]` in the place of each word that counts."""
    largest = max((abs(word.weight) for word in words), default=0.0)
    out, end = "", 0
    for word in words:
        if not abs(word.weight) >= max(MARKED * largest, 0.005):  # shown as 0.00
            continue
        marked = f"[{one_line(word.word)} {word.weight:+.2f}]"
        if colour:
            marked = f"{_FOR if word.weight > 0 else _AGAINST}{marked}{_PLAIN}"
        out += one_line(text[end : word.start]) + marked
        end = word.end
    return out + one_line(text[end:])


def _printable(line: str) -> str:
    return line.encode("utf-8", "backslashreplace").decode()
