"""Bytes of a file straight into an array, without a second copy."""

from __future__ import annotations

import io

import numpy as np

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
