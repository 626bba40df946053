"""What an export that computes otherwise makes of the texts of its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.engine.texts import pad
from gpt2_jax.errors import UserError
from gpt2_jax.evaluation.decision import decide
from gpt2_jax.evaluation.metrics import softmax
from gpt2_jax.weights.trained import TrainedModel
from gpt2_jax.workdir.own_data import own_data

Logits = Callable[[np.ndarray, np.ndarray], np.ndarray]

_PARTS = ("validation", "test")
_BATCH = 32


def compare_labels(
    run: Path, trained: TrainedModel, ours: Logits, theirs: Logits, name: str
) -> list[str]:
    """Say how many of the run's held-out texts keep their label, and the accuracies.

    `ours` and `theirs` map tokens [B, T] and lengths [B] to logits [B, C].
    """
    try:
        config = own_data(run)
        dataset = load_dataset(
            config, offline=True, to_train=False, classes=trained.classes
        )
        parts = split_dataset(dataset, config).parts()
    except UserError as error:
        return [f"{name}: labels not compared, the run's own texts are gone: {error}"]
    lines = []
    for part in _PARTS:
        texts = [dataset.texts[row] for row in parts[part]]
        if not texts:
            continue
        classes = np.asarray([trained.classes.index(c) for c in dataset.classes])
        labels = classes[np.asarray(dataset.labels)[parts[part]]]
        before, after = (_labels(trained, logits, texts) for logits in (ours, theirs))
        equal, right = before == after, (after == labels, before == labels)
        lines.append(
            f"{name}: {equal.sum()} of {len(texts)} {part} texts keep their label "
            f"({100 * equal.mean():.2f}%), accuracy {100 * right[0].mean():.2f}% where "
            f"float32 has {100 * right[1].mean():.2f}%"
        )
    return lines


def _labels(trained: TrainedModel, logits: Logits, texts: Sequence[str]) -> np.ndarray:
    """Return the class that each text is given, as the run decides."""
    encoded = [trained.tokenizer.encode(text)[: trained.max_length] for text in texts]
    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
    rows = np.empty((len(texts), len(trained.classes)))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        ids = [encoded[row] for row in batch]
        tokens = pad(ids, len(ids[-1]), trained.tokenizer.end_id)
        rows[batch] = logits(tokens, np.asarray([len(text) for text in ids]))
    threshold = trained.threshold and (
        trained.classes.index(trained.threshold.positive),
        trained.threshold.value,
    )
    return decide(softmax(rows), threshold)
