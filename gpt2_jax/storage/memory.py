"""Memory of the host that XLA on a CPU reads without a copy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

ALIGNMENT = 64  # bytes, of XLA's buffers on a CPU


def aligned(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Return a new array, as `np.empty`, that `jax.device_put` takes as it is."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
