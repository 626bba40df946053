"""A model on its devices, over all texts of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from gpt2_jax.engine.long import mean_of_pieces
from gpt2_jax.engine.scoring import logits_by_length
from gpt2_jax.engine.texts import Texts
from gpt2_jax.engine.wrapper import Steps
from gpt2_jax.evaluation.metrics import accuracy, cross_entropy, macro_f1
from gpt2_jax.model.tree import Params


@dataclasses.dataclass(frozen=True)
class Engine:
    """The steps of a run, and its texts: outputs of the trunk where it is frozen.

    Params that methods are given have the leaves of `params`, and are placed.
    """

    params: Params  # that the steps need, on the host, before training
    param_labels: Params  # of these
    texts: Texts
    steps: Steps
    poll: Callable[[], None]  # called between batches; what it raises ends the scoring
    trunk_reused: bool = False  # `texts` are its outputs

    def logits(
        self, params: Params, rows: Int[np.ndarray, " P"]
    ) -> Float[np.ndarray, "N C"]:
        """Return float32 logits of the texts that `rows` are the pieces of."""
        logits = logits_by_length(
            lambda some, width: self.steps.predict(params, some, width),
            self.texts,
            rows,
            num_devices=self.steps.num_devices,
            poll=self.poll,
        )
        return mean_of_pieces(logits, self.texts.pieces_of(rows))

    def measure(self, params: Params, rows: Int[np.ndarray, " P"]) -> dict[str, float]:
        """Return mean loss, accuracy and macro F1."""
        return self.scores(self.logits(params, rows), rows)

    def scores(
        self, logits: Float[np.ndarray, "N C"], rows: Int[np.ndarray, " P"]
    ) -> dict[str, float]:
        """Return mean cross-entropy, accuracy and macro F1 of the texts of `rows`."""
        labels = self.texts.labels_of(rows)
        return {
            "loss": cross_entropy(logits, labels),
            "accuracy": accuracy(logits, labels),
            "f1": macro_f1(logits, labels),
        }

    def logits_by_part(self, params: Params) -> dict[str, np.ndarray]:
        """Return the logits of each part of the texts; `params` lie on the host."""
        placed = self.steps.place(params)
        return {
            part: self.logits(placed, rows) for part, rows in self.texts.parts.items()
        }

    def accuracy(self, params: Params, part: str) -> float:
        """Return the accuracy on a part; `params` lie on the host."""
        placed, rows = self.steps.place(params), self.texts.parts[part]
        return accuracy(self.logits(placed, rows), self.texts.labels_of(rows))
