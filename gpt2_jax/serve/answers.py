"""What a classifier says, in the words of the API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gpt2_jax.evaluation.decision import decide
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.serve.schema import Result, Threshold


def results(
    classifier: Classifier,
    texts: Sequence[str],
    lengths: Sequence[int],
    rows: np.ndarray,
    abstain_below: float,
) -> Iterator[Result]:
    """Yield the result of each text, of its tokens and its probabilities [N, C]."""
    chosen = decide(rows, classifier.threshold)
    answers = classifier.decide(rows, abstain_below=abstain_below)
    for text, length, row, index, label in zip(
        texts, lengths, rows, chosen, answers, strict=True
    ):
        yield Result(
            label=label,
            prob=float(row[index]),
            probs=dict(zip(classifier.labels, row.tolist(), strict=True)),
            n_tokens=length if text else 0,
            truncated=classifier.truncates(length),
        )


def stored_threshold(classifier: Classifier) -> Threshold | None:
    """Return the threshold that decides, if there is one."""
    if classifier.threshold is None:
        return None
    index, value = classifier.threshold
    return Threshold(label=classifier.labels[index], value=value)
