"""What jit, fsdp and pmap have in common: the steps of one model over its texts.

Shapes: `S` steps, `B` batch, `C` classes.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from flax.training.train_state import TrainState
from jax import Array

from gpt2_jax.model.tree import Params


class Steps(Protocol):
    """The pure steps, compiled for some devices."""

    @property
    def num_devices(self) -> int:
        """The devices that share each batch."""
        ...

    def train(
        self, state: TrainState, rows: np.ndarray, key: Array, width: int
    ) -> tuple[TrainState, np.ndarray]:
        """Take a step on each of `rows` [S, B], padded to `width`; donates `state`.

        Returns the state, and the losses [S].
        """
        ...

    def predict(self, params: Params, rows: np.ndarray, width: int) -> Array:
        """Return logits of `rows` [B] and of what they were padded with: [B+, C].

        They need not be done yet.
        """
        ...

    def most_steps(self, batch_size: int, width: int) -> int:
        """Return how many steps one call can take."""
        ...

    def place(self, tree: Any) -> Any:
        """Put a host tree, as of a state, on the devices."""
        ...

    def unplace(self, tree: Any) -> Any:
        """Return what `place` was given."""
        ...
