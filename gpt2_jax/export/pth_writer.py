"""`.pth` files for `torch.load`, written without torch.

The format is a zip archive: one stored entry per tensor, and a pickle that names them.
The pickle is put together of opcodes here, so no Python object is ever pickled; it uses
the three globals of a plain state dict, which `weights_only=True` allows.
"""

from __future__ import annotations

import math
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

_ROOT = "archive"  # torch takes the folder's name from the archive itself

_DATE = (1980, 1, 1, 0, 0, 0)  # equal tensors make equal files


def write_pth(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write float32 `tensors`; one array under two names is stored once."""
    arrays = {id(value): value for value in tensors.values()}
    keys = {address: str(index) for index, address in enumerate(arrays)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def write(name: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f"{_ROOT}/{name}", _DATE), content)

        write("data.pkl", _pickle(tensors, keys))
        write("byteorder", b"little")
        for address, value in arrays.items():
            write(f"data/{keys[address]}", value.astype("<f4").tobytes())
        write("version", b"3\n")


def _pickle(tensors: Mapping[str, np.ndarray], keys: Mapping[int, str]) -> bytes:
    """Pickle an OrderedDict of tensors whose storages are persistent ids."""
    parts = [pickle.PROTO + b"\x02", _EMPTY_ORDERED_DICT, pickle.MARK]
    for name, value in tensors.items():
        parts += [
            _text(name),
            _global("torch._utils", "_rebuild_tensor_v2"),
            pickle.MARK,
            _storage(keys[id(value)], value.size),
            _integer(0),  # offset in the storage
            _tuple(value.shape),
            _tuple(_strides(value.shape)),
            pickle.NEWFALSE,  # requires_grad
            _EMPTY_ORDERED_DICT,  # backward hooks
            pickle.TUPLE,
            pickle.REDUCE,
        ]
    return b"".join([*parts, pickle.SETITEMS, pickle.STOP])


def _strides(shape: Sequence[int]) -> list[int]:
    """Return the elements from one index to the next on each axis, in C order."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _storage(key: str, size: int) -> bytes:
    kind = _global("torch", "FloatStorage")
    fields = [_text("storage"), kind, _text(key), _text("cpu"), _integer(size)]
    return b"".join([pickle.MARK, *fields, pickle.TUPLE, pickle.BINPERSID])


def _tuple(values: Sequence[int]) -> bytes:
    return b"".join([pickle.MARK, *map(_integer, values), pickle.TUPLE])


def _integer(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


_EMPTY_ORDERED_DICT = (
    _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
)
