"""Logits, losses and accuracies of whole parts of the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from gpt2_jax.engine.jit import Steps
from gpt2_jax.engine.packing import call_tokens
from gpt2_jax.engine.texts import Data, Inputs
from gpt2_jax.engine.widths import by_length
from gpt2_jax.evaluation.metrics import accuracy, cross_entropy, macro_f1
from gpt2_jax.model.tree import Params


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Logits of any texts of the data, for any params that have the trained leaves."""

    steps: Steps
    inputs: Inputs
    data: Data | Inputs  # what the steps read; see `Steps.hold`
    poll: Callable[[], None]  # called between batches; what it raises ends the scoring

    @classmethod
    def create(
        cls,
        steps: Steps,
        inputs: Inputs,
        *,
        resident: bool,
        poll: Callable[[], None] = lambda: None,
    ) -> Scorer:
        return cls(steps, inputs, steps.hold(inputs) if resident else inputs, poll)

    def logits(self, params: Params, rows: np.ndarray) -> np.ndarray:
        """Return float32 [N, C] in the order of `rows`; `params` are placed."""
        lengths, widths = self.inputs.lengths[rows], self.inputs.widths
        pending = []
        most_tokens = call_tokens(jax.default_backend()) * self.steps.num_devices
        for chosen, width, size in by_length(lengths, widths, most_tokens):
            self.poll()
            filled = np.pad(rows[chosen], (0, size - len(chosen)), mode="edge")
            logits = self.steps.predict(params, self.data, filled, width)
            pending.append((chosen, logits))
        done = []
        for chosen, logits in pending:
            self.poll()
            done.append(np.asarray(logits)[: len(chosen)])
        order = np.concatenate([chosen for chosen, _ in pending])
        return np.concatenate(done)[np.argsort(order)]

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
