"""Data files of a study's own: which texts train, validate and test."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.config import DataConfig
from gpt2_jax.data.dataset import Dataset


def write_parts(
    path: Path, dataset: Dataset, parts: Mapping[str, np.ndarray], **changes: Any
) -> DataConfig:
    """Write `parts`, rows of `dataset`, as a CSV file; return a config that reads it.

    Nothing is balanced unless `changes`, fields of DataConfig, say so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "part"])
        for part, rows in parts.items():
            for row in rows:
                label = dataset.classes[dataset.labels[row]]
                writer.writerow([dataset.texts[row], label, part])
    fields = {"split_column": "part", "balance": "none", "group": False, **changes}
    return DataConfig(source=str(path), **fields)


def take_share(rows: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """Return a `share` of `rows` with as much of each class; a larger one holds it."""
    random = np.random.default_rng(0)
    kept = []
    for label in np.unique(labels[rows]):
        of_class = random.permutation(rows[labels[rows] == label])
        kept.append(of_class[: max(1, round(share * len(of_class)))])
    return np.sort(np.concatenate(kept))
