"""What jit, fsdp and pmap have in common: the steps of one model over its texts.

Shapes: `S` steps, `B` batch, `C` classes.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from flax.training.train_state import TrainState
from jax import Array
from jaxtyping import Float, Int, Key

from gpt2_jax.model.tree import Params


@runtime_checkable
class Steps(Protocol):
    """The pure steps, compiled for some devices."""

    @property
    def num_devices(self) -> int:
        """The devices that share each batch."""
        ...

    def train(
        self,
        state: TrainState,
        rows: Int[np.ndarray, "S B"],
        key: Key[Array, ""],
        width: int,
    ) -> tuple[TrainState, Float[np.ndarray, " S"]]:
        """Take a step on each of `rows`, padded to `width`; donates `state`.

        Returns the state, and the losses.
        """
        ...

    def predict(
        self, params: Params, rows: Int[np.ndarray, " B"], width: int
    ) -> Float[Array, "_ C"]:
        """Return logits of `rows` and of what they were padded with.

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
