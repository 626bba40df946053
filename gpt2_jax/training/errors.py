"""The test texts that a run gets wrong, and the words that its answers rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpt2_jax.evaluation.error_list import MAX_LISTED
from gpt2_jax.evaluation.metrics import confident_errors
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.inference.explain import MAX_SPANS, OCCLUSION, word_spans
from gpt2_jax.model.pools import POOLS
from gpt2_jax.weights.trained import TrainedModel

# An explanation predicts a text once for each word: so many tokens are spent on all.
EXPLAINED_TOKENS = 2**12


def list_errors(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the errors among `probabilities` [N, C], the most confident ones first."""
    return [
        {
            "row": int(row),  # of predictions.csv, from 0
            "label": classes[int(labels[row])],
            "predicted": classes[int(probabilities[row].argmax())],
            "prob": float(probabilities[row].max()),
        }
        for row in confident_errors(probabilities, labels, MAX_LISTED)
    ]


def explain_errors(
    errors: Sequence[dict[str, Any]], texts: Sequence[str], trained: TrainedModel
) -> list[dict[str, Any]]:
    """Return `errors` with `words`, [start, end, weight] each, of the first of them."""
    chosen, spent = [], 0
    padded = POOLS[trained.config.pool].reads_padding
    for error in errors:
        text = texts[int(error["row"])]
        words = min(len(word_spans(text)), MAX_SPANS)
        length = len(trained.tokenizer.encode(text))
        length = trained.max_length if padded else min(length, trained.max_length)
        spent += (1 + words) * length
        if spent > EXPLAINED_TOKENS:
            break
        chosen.append(text)
    if not chosen:
        return list(errors)
    found = Classifier(trained).explain(chosen, OCCLUSION)
    told = [
        {"words": [[w.start, w.end, round(w.weight, 4)] for w in words]}
        for words in found
    ]
    told += [{}] * (len(errors) - len(told))
    return [error | more for error, more in zip(errors, told, strict=True)]
