"""Where the outputs of a trunk go, call by call: to the host, or not off the device.

Shapes: `R` rows, `T` tokens of a row, `S` tokens of all texts, `D` embed_dim.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from gpt2_jax.engine.devices import Device


class OnHost:
    """They are copied into `values` of the host, one after the other."""

    def __init__(self, values: Float[np.ndarray, "S D"]) -> None:
        self.values, self._written = values, 0

    def write(self, x: Float[Array, "R T D"], segments: Int[np.ndarray, "R T"]) -> None:
        """Add those of a call, whose `segments` are 0 where there is no text."""
        kept = np.asarray(x)[segments > 0]
        end = self._written + len(kept)
        self.values[self._written : end] = kept
        self._written = end


class OnDevice:
    """They stay on `device`, which is sent their places alone."""

    def __init__(self, size: int, width: int, dtype: str, device: Device) -> None:
        self.values: Array = jnp.zeros((size, width), dtype, device=device)
        self._written = 0

    def write(self, x: Float[Array, "R T D"], segments: Int[np.ndarray, "R T"]) -> None:
        """Do the same; what `values` was before is no longer valid."""
        places = np.full(segments.shape, len(self.values), np.int32)  # dropped
        end = self._written + int((segments > 0).sum())
        places[segments > 0] = np.arange(self._written, end)
        # Else every call would ask for its memory at once.
        self.values = _scatter(self.values, jax.block_until_ready(x), places)
        self._written = end


Outputs = OnHost | OnDevice


@functools.partial(jax.jit, donate_argnums=0)
def _scatter(values: Array, x: Array, places: Array) -> Array:
    rows = x.reshape(-1, x.shape[-1])
    return values.at[places.reshape(-1)].set(rows, mode="drop")


def keeps_outputs(device: Device, needed: int) -> bool:
    """Return whether `device` is an accelerator with room for `needed` bytes.

    Half of what is free is left to the training. The memory of a CPU is the host's.
    """
    if device.platform == "cpu":
        return False
    told = device.memory_stats() or {}
    free = told.get("bytes_limit", math.inf) - told.get("bytes_in_use", 0)
    return 2 * needed <= free
