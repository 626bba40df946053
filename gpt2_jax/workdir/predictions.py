"""The probabilities of each text of a part, as a run keeps them."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt2_jax.errors import WeightsError
from gpt2_jax.evaluation.statistics import Answers

# The parts whose predictions a run keeps, all of one form.
PREDICTIONS = {"test": "predictions.csv", "validation": "validation_predictions.csv"}

_HEAD = ["text", "label", "predicted"]


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
        writer.writerow([*_HEAD, *(f"p_{c}" for c in classes)])
        for text, label, row in zip(texts, labels, probabilities, strict=True):
            predicted = classes[int(row.argmax())]
            writer.writerow([text, label, predicted, *(f"{p:.6f}" for p in row)])


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a run answered to the texts of a part."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray  # [N, C]

    @property
    def answers(self) -> Answers:
        """The same by the numbers of the classes."""
        place = {name: i for i, name in enumerate(self.classes)}
        labels = np.asarray([place[label] for label in self.labels])
        return Answers(labels, self.probabilities)


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        WeightsError: it cannot be read, or is something else.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        if head[:3] != _HEAD or not rows:
            raise ValueError(f"its columns are {', '.join(head)}")
        return Predictions(
            tuple(row[0] for row in rows),
            tuple(row[1] for row in rows),
            tuple(name.removeprefix("p_") for name in head[3:]),
            np.asarray([row[3:] for row in rows], np.float64),
        )
    except (OSError, ValueError, csv.Error) as error:
        raise WeightsError(
            f"{path}: cannot be read as the predictions of a run ({error})"
        ) from error
