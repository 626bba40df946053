"""Logits, losses and accuracies of whole parts of the data."""

from __future__ import annotations

import dataclasses

import numpy as np

from gpt2_jax.data.batches import Batch, Examples, by_length, make_batch
from gpt2_jax.evaluation.metrics import accuracy, cross_entropy
from gpt2_jax.training.features import Features, feature_batch
from gpt2_jax.training.prepare import Prepared
from gpt2_jax.training.steps import Steps
from gpt2_jax.tree import Params

Inputs = Examples | Features


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Logits of any part of the data, for any params that have the trained leaves."""

    steps: Steps
    prepared: Prepared
    inputs: dict[str, Inputs]
    size: int  # rows per batch

    @classmethod
    def create(
        cls, prepared: Prepared, steps: Steps, inputs: dict[str, Inputs]
    ) -> Scorer:
        # As large as a training batch, at least 32, and a multiple of the devices.
        size = max(prepared.config.train.batch_size, 32)
        return cls(steps, prepared, inputs, size + -size % steps.num_devices)

    def logits(
        self, params: Params, part: str, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float32 [N, C] in the order of `rows`, or of the whole part.

        `params` are placed on the devices.
        """
        inputs = self.inputs[part]
        rows = np.arange(len(inputs)) if rows is None else rows
        out = np.zeros((len(rows), len(self.prepared.dataset.classes)), np.float32)
        for chosen in by_length(inputs.lengths[rows], self.size):
            batch = self.batch(inputs, rows[chosen])
            out[chosen] = self.steps.predict(params, batch)[: len(chosen)]
        return out

    def batch(self, inputs: Inputs, rows: np.ndarray) -> Batch:
        if isinstance(inputs, Features):
            return feature_batch(inputs, rows, self.size)
        return make_batch(inputs, rows, trim=self.prepared.trim, size=self.size)

    def scores(
        self, params: Params, part: str, rows: np.ndarray | None = None
    ) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        labels = self.inputs[part].labels
        labels = labels if rows is None else labels[rows]
        logits = self.logits(params, part, rows)
        return cross_entropy(logits, labels), accuracy(logits, labels)
