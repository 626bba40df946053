"""The files of a run: metrics.jsonl, results.json, and the trained model itself."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax import config as configs
from gpt2_jax.scratch import scratch
from gpt2_jax.training.writers import Writer
from gpt2_jax.tree import flatten
from gpt2_jax.weights import files
from gpt2_jax.weights.json_file import sealed
from gpt2_jax.weights.safetensors_writer import write_safetensors
from gpt2_jax.weights.trained import MODEL_FILE, PARAMS_FILE
from gpt2_jax.weights.trained import TrainedModel as TrainedModel
from gpt2_jax.weights.trained import load_model as load_model

# The parts whose predictions a run keeps, all of one form.
PREDICTIONS = {"test": "predictions.csv", "validation": "validation_predictions.csv"}


def save_model(folder: Path, trained: TrainedModel) -> None:
    """Write `params.safetensors`, and then `classifier.json` with its SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = {
        path: np.ascontiguousarray(leaf)
        for path, leaf in flatten(trained.params).items()
    }
    # The library writes without a copy of it all in memory, and leaves a file of its
    # own where it is killed.
    with scratch(folder / PARAMS_FILE) as place:
        write_safetensors(place / PARAMS_FILE, flat)
        _move(place / PARAMS_FILE, folder / PARAMS_FILE)
    write_json(
        folder / MODEL_FILE,
        sealed(
            {
                "config": configs.to_dict(trained.config),
                "classes": list(trained.classes),
                "max_length": trained.max_length,
                "temperature": trained.temperature,
                "threshold": trained.threshold
                and dataclasses.asdict(trained.threshold),
                "params_sha256": files.sha256_of(folder / PARAMS_FILE),
            }
        ),
    )


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


def write_json(path: Path, values: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write so that `path` holds the old content or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    _move(partial, path)


def _move(partial: Path, path: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())  # a loss of power must not keep the name alone
    partial.replace(path)


class MetricsLog:
    """Appends lines to metrics.jsonl, and gives them to `writers`.

    One process of a run `writes`.
    """

    def __init__(
        self, path: Path, writers: Sequence[Writer] = (), *, writes: bool = True
    ) -> None:
        self._path, self._writers, self._writes = path, writers, writes

    def write(self, **values: Any) -> None:
        self._append([values])

    def write_losses(self, step: int, losses: np.ndarray) -> None:
        """Write the losses [S] of the steps after `step`, a line each."""
        lines = enumerate(losses.tolist(), start=step + 1)
        self._append([{"step": number, "loss": loss} for number, loss in lines])

    def _append(self, lines: list[dict[str, Any]]) -> None:
        if not self._writes:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        for line in lines:
            for write in self._writers:
                write(line)

    def read(self) -> list[dict[str, Any]]:
        if not self._path.is_file():
            return []
        *lines, _ = self._path.read_text("utf-8").split("\n")  # a kill cuts the last
        return [json.loads(line) for line in lines]

    def truncate(self, step: int, *, behind: bool) -> None:
        """Drop what lies after `step`: a resumed run will write it again.

        Where it is `behind` that is all but the loss of `step` itself.
        """
        if not self._writes:
            return
        kept = [
            line
            for line in self.read()
            if line["step"] < step
            or (line["step"] == step and ("loss" in line or not behind))
        ]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self._path, text.encode())
