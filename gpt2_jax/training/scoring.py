"""Logits, losses and accuracies of whole parts of the data."""

from __future__ import annotations

import dataclasses

import numpy as np

from gpt2_jax.data.batches import by_length
from gpt2_jax.data.packing import CALL_TOKENS
from gpt2_jax.evaluation.metrics import accuracy, cross_entropy, macro_f1
from gpt2_jax.training.inputs import Data, Inputs
from gpt2_jax.training.parallel import Steps
from gpt2_jax.tree import Params


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Logits of any texts of the data, for any params that have the trained leaves."""

    steps: Steps
    inputs: Inputs
    placed: Data | None  # the whole data on the devices; None: too large for them

    @classmethod
    def create(cls, steps: Steps, inputs: Inputs, *, resident: bool) -> Scorer:
        return cls(steps, inputs, steps.place(inputs.data) if resident else None)

    def reach(self, rows: np.ndarray, width: int) -> tuple[Data, np.ndarray]:
        """Return placed data that holds `rows`, and where in it they are."""
        if self.placed is not None:
            return self.placed, rows
        data = self.steps.place(self.inputs.copy_of(rows.ravel(), width))
        return data, np.arange(rows.size).reshape(rows.shape)

    def logits(self, params: Params, rows: np.ndarray) -> np.ndarray:
        """Return float32 [N, C] in the order of `rows`; `params` are placed."""
        lengths, widths = self.inputs.lengths[rows], self.inputs.widths
        pending = []
        for chosen, width, size in by_length(lengths, widths, CALL_TOKENS):
            size += -size % self.steps.num_devices
            filled = np.pad(rows[chosen], (0, size - len(chosen)), mode="edge")
            data, index = self.reach(filled, width)
            pending.append((chosen, self.steps.predict(params, data, index, width)))
        chosen, logits = zip(*pending, strict=True)
        out = np.concatenate(
            [np.asarray(x)[: len(c)] for c, x in zip(chosen, logits, strict=True)]
        )
        return out[np.argsort(np.concatenate(chosen))]

    def measure(self, params: Params, rows: np.ndarray) -> dict[str, float]:
        """Return mean loss, accuracy and macro F1."""
        logits, labels = self.logits(params, rows), self.inputs.labels[rows]
        return {
            "loss": cross_entropy(logits, labels),
            "accuracy": accuracy(logits, labels),
            "f1": macro_f1(logits, labels),
        }

    def scores(self, params: Params, rows: np.ndarray) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        logits, labels = self.logits(params, rows), self.inputs.labels[rows]
        return cross_entropy(logits, labels), accuracy(logits, labels)
