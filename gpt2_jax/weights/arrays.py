"""The values of parameters: their types, and what no trained parameter holds."""

from __future__ import annotations

import io
from collections.abc import Mapping

import ml_dtypes
import numpy as np

DTYPES: Mapping[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}

FLOATS = tuple(map(np.dtype, (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)))

_CHUNK = 1 << 18  # elements: stays in the cache from the cast to the sum


def fault_of(value: np.ndarray, *, may_be_zero: bool) -> str | None:
    """Say what is wrong with a parameter's values, None if nothing is.

    The sum of squares tells both at the speed of one read: it is not finite if a value
    is not, and zero only if all are. Where it overflows or underflows we look again.
    """
    flat, some = value.ravel(order="K"), may_be_zero
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _CHUNK):
            chunk = flat[start : start + _CHUNK].astype(np.float32, copy=False)
            squares = np.dot(chunk, chunk)
            if not np.isfinite(squares) and not np.isfinite(chunk).all():
                return "holds values that are not finite"
            some = some or bool(squares) or bool(chunk.any())
    return None if some else "is all zero"


_CHUNK_BYTES = 1 << 20


def read_into(stream: io.RawIOBase | io.BufferedIOBase, value: np.ndarray) -> None:
    """Fill the contiguous `value` from where `stream` stands.

    Raises:
        ValueError: the stream ends before.
    """
    rest = value.reshape(-1).view(np.uint8).data
    while rest:
        count = stream.readinto(rest[:_CHUNK_BYTES])
        if not count:
            raise ValueError(f"ends {len(rest)} bytes too early")
        rest = rest[count:]
