"""Metrics of a trained run on labelled texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpt2_jax import config as configs
from gpt2_jax.config import DataConfig, FinetuneConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.errors import DataError, WeightsError
from gpt2_jax.evaluation.metrics import accuracy, evaluate_probabilities, softmax
from gpt2_jax.evaluation.report import format_test
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.weights.files import read_json


def evaluate_run(run: Path, data: DataConfig | None) -> list[str]:
    """Return the metrics of `run`, line by line.

    Without `data` they are of the run's own test part; with it, of every text of it.

    Raises:
        DataError: the data cannot be read, or has a label that the run never saw.
        WeightsError: the run cannot be read.
    """
    classifier = Classifier.load(run)
    config = _own_data(run) if data is None else data
    dataset = load_dataset(config, to_train=False)
    rows = np.arange(len(dataset.texts))
    if data is None:
        rows = split_dataset(dataset, config).test
    unknown = sorted(set(dataset.classes) - set(classifier.labels))
    if unknown:
        raise DataError(
            f"{dataset.name}: labels {', '.join(unknown)} are not among the run's "
            f"{', '.join(classifier.labels)}"
        )
    index = [classifier.labels.index(name) for name in dataset.classes]
    labels = np.asarray(index)[np.asarray(dataset.labels)[rows]]
    texts = [dataset.texts[row] for row in rows]
    logits = classifier.logits(texts)
    test = evaluate_probabilities(softmax(logits), labels, classifier.labels)
    low, high = (100 * bound for bound in test["ci95"])
    return [
        f"data: {dataset.name}: {len(texts)} of {len(dataset.texts)} texts, "
        f"{classifier.count_cut(texts)} cut to {classifier.max_length} tokens",
        *(f"data: {note}" for note in dataset.notes),
        f"accuracy {100 * accuracy(logits, labels):.2f}% (95% interval {low:.1f} to "
        f"{high:.1f}, n={test['n']})",
        *format_test(test, classifier.labels),
    ]


def _own_data(run: Path) -> DataConfig:
    path = run / "config.json"
    try:
        return configs.from_dict(FinetuneConfig, read_json(path)).data
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
