"""The answers of `gpt2-jax predict`, as lines."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt2_jax.inference.classifier import Classifier
    from gpt2_jax.inference.rows import Row

METHODS = ("occlusion", "gradients")  # of explanations; here jax is not loaded


class Answers:
    """Turns windows of texts into lines; counts them on the way."""

    def __init__(self, classifier: Classifier, arguments: argparse.Namespace) -> None:
        from tqdm import tqdm

        self.classifier = classifier
        self.cut = 0
        self._method = arguments.explain_method
        if arguments.explain and self._method is None:
            self._method = METHODS[0]
        self._top_k = arguments.top_k
        self._abstain_below = arguments.abstain_below or 0.0
        self._human = arguments.output is None and bool(arguments.texts)
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        # Lines on the terminal show the progress themselves.
        quiet = arguments.output is None and sys.stdout.isatty()
        self.bar = tqdm(unit=" texts", disable=True if quiet else None)

    def tell(self, lines: list[str]) -> None:
        for line in lines:
            self.bar.write(f"data: {line}", file=sys.stderr)

    def __call__(self, window: list[Row]) -> list[str]:
        from gpt2_jax.inference.show import json_line, text_line

        texts = [row.text for row in window]
        predictions = self.classifier.classify(texts, abstain_below=self._abstain_below)
        explained: list[Any] = [None] * len(texts)
        if self._method is not None:
            explained = self.classifier.explain(texts, self._method)
        self.cut += sum(prediction.truncated for prediction in predictions)
        self.bar.update(len(texts))
        return [
            text_line(
                prediction,
                row.text,
                words,
                top_k=self._top_k,
                colour=self._colour,
            )
            if self._human
            else json_line(prediction, row.id, words)
            for row, prediction, words in zip(
                window, predictions, explained, strict=True
            )
        ]
