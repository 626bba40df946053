"""The probabilities of each text of a part, as a run keeps them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# The parts whose predictions a run keeps, all of one form.
PREDICTIONS = {"test": "predictions.csv", "validation": "validation_predictions.csv"}


def write_predictions(
    path: Path,
    texts: Sequence[str],
    labels: Sequence[str],
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> None:
    """Write text, true label, predicted label and the probability of each class."""
    with path.open(
        "w", newline="", encoding="utf-8", errors="backslashreplace"
    ) as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "predicted", *(f"p_{c}" for c in classes)])
        for text, label, row in zip(texts, labels, probabilities, strict=True):
            predicted = classes[int(row.argmax())]
            writer.writerow([text, label, predicted, *(f"{p:.6f}" for p in row)])
