"""Files of torch before 1.6: five pickles, and then each storage with its size."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from gpt2_jax.weights.arrays import read_into
from gpt2_jax.weights.pickled import parse
from gpt2_jax.weights.torch_objects import Storage

MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # torch's magic number, pickled

_PROTOCOL = 1001  # the only one that there was

_MAX_READ = 4 << 20  # bytes of one pickle

Load = Callable[[str], np.ndarray]


def read(file: io.BufferedReader) -> tuple[Any, dict[str, int], Load]:
    """Return what was saved, the bytes of each storage, and what reads one.

    Raises:
        ValueError: the file is damaged, or of another machine.
    """
    known: dict[str, Storage] = {}
    _, protocol, system, saved, keys = [_unpickle(file, known) for _ in range(5)]
    if protocol != _PROTOCOL or not isinstance(system, dict):
        raise ValueError("no file of torch before 1.6")
    if system.get("little_endian") is not True:
        raise ValueError("the numbers are big-endian; save it on a common machine")
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise ValueError("its storages have no names")
    places: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for key in keys:
        count = file.read(8)
        if len(count) < 8:
            raise ValueError(f"its storage {key!r} is missing")
        (numbers,) = struct.unpack("<q", count)
        if key in places or key not in known or numbers < 0:
            raise ValueError(f"its storage {key!r} is none of a tensor")
        places[key], sizes[key] = file.tell(), numbers * known[key].dtype.itemsize
        file.seek(sizes[key], io.SEEK_CUR)
    return saved, sizes, lambda key: _load(file, places[key], sizes[key])


def _unpickle(file: io.BufferedReader, storages: dict[str, Storage]) -> Any:
    start = file.tell()
    stream = io.BytesIO(file.read(_MAX_READ))
    value = parse(stream, storages)
    file.seek(start + stream.tell())
    return value


def _load(file: io.BufferedReader, place: int, size: int) -> np.ndarray:
    end = file.seek(0, io.SEEK_END)
    if place + size > end:
        raise ValueError(f"ends {place + size - end} bytes too early")
    file.seek(place)
    content = np.empty(size, np.uint8)
    read_into(file, content)
    return content
