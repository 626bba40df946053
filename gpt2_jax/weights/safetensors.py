"""`.safetensors` files: the library checks them, and we read straight into arrays.

Its own numpy reader copies twice, knows no bfloat16, and lets the last of two equal
keys win.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from gpt2_jax.errors import WeightsError
from gpt2_jax.storage import sealed
from gpt2_jax.storage.memory import aligned
from gpt2_jax.weights.arrays import read_into

DIGEST = "gpt2_jax_sha256"  # beside the tensors, in a file that we wrote alone

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read(path: Path) -> dict[str, np.ndarray]:
    """Read all tensors, each into an array of its own.

    Raises:
        WeightsError: the file is damaged, or holds a type that no GPT-2 has.
    """
    try:
        start, header = _read_header(path)
        told = header.pop("__metadata__", {}).get(DIGEST)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    unknown = {entry["dtype"] for entry in header.values()} - set(_DTYPES)
    if unknown:
        raise WeightsError(
            f"{path}: holds {', '.join(sorted(unknown))} tensors; expected one of "
            f"{', '.join(_DTYPES)}; write them again in float32 or bfloat16"
        )

    def read_one(entry: dict[str, Any]) -> np.ndarray:
        value = aligned(entry["shape"], _DTYPES[entry["dtype"]])
        with path.open("rb", buffering=0) as file:
            file.seek(start + entry["data_offsets"][0])
            read_into(file, value)
        return value

    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            values = pool.map(read_one, header.values())
            tensors = dict(zip(header, values, strict=True))
        if told is not None and told != digest(tensors):
            raise ValueError(f"its {DIGEST} is of other tensors")
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return tensors


def digest(tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of all that tensors are, whatever their order."""
    found = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {value.shape}\0".encode())
        found.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _read_header(path: Path) -> tuple[int, dict[str, Any]]:
    """Return where the tensors start, and what the header says of each."""
    with path.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError(f"{len(head)} bytes are too few for a header")
        (size,) = struct.unpack("<Q", head)
        if size > sealed.MAX_BYTES:
            raise ValueError(
                f"a header of {size:,} bytes, and no GPT-2 needs more than "
                f"{sealed.MAX_BYTES:,}"
            )
        text = file.read(size)
    with safetensors.safe_open(path, framework="numpy"):
        pass  # sizes, offsets and shapes all agree, or it would have raised
    header = sealed.parse(text)
    return 8 + size, header


def _damaged(path: Path, reason: Exception) -> WeightsError:
    return WeightsError(
        f"{path}: not a whole safetensors file ({reason}); get it again"
    )


def write_safetensors(
    path: Path, tensors: Mapping[str, np.ndarray], *, alone: bool = False
) -> None:
    """Write tensors; with their hash in it where nothing else will tell it."""
    path.touch()
    mode = path.stat().st_mode  # as the umask has it; save_file makes files private
    # transformers refuses files that do not say that they are PyTorch's.
    about = {"format": "pt"}
    if alone:
        about[DIGEST] = digest(tensors)
    safetensors.numpy.save_file(dict(tensors), path, about)
    path.chmod(mode)
