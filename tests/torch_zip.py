"""Files of torch's format made by hand, without torch: right ones and wrong ones."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

PROTO_2 = b"\x80\x02"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    content = value.to_bytes(8, "little", signed=True)
    return b"\x8a\x08" + content


def integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage(key: str, size: int, kind: str = "FloatStorage") -> bytes:
    fields = [text("storage"), named("torch", kind), text(key), text("cpu")]
    return b"(" + b"".join([*fields, integer(size)]) + b"tQ"


def tensor(
    stored: bytes,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
    offset: int = 0,
) -> bytes:
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    return b"".join(
        [
            named("torch._utils", "_rebuild_tensor_v2"),
            b"(",
            stored,
            integer(offset),
            integers(shape),
            integers(strides),
            b"\x89",  # requires_grad
            named("collections", "OrderedDict") + b")R",  # hooks
            b"tR",
        ]
    )


def state(tensors: Mapping[str, bytes]) -> bytes:
    items = b"".join(text(name) + value for name, value in tensors.items())
    return PROTO_2 + b"}(" + items + b"u."


def pack(
    path: Path, pickled: bytes, storages: Mapping[str, bytes] = {}, folder: str = "a"
) -> Path:
    """Write a zip archive as torch does."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", pickled)
        archive.writestr(f"{folder}/byteorder", b"little")
        for key, content in storages.items():
            archive.writestr(f"{folder}/data/{key}", content)
    return path


def pack_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], beside: Mapping[str, bytes] = {}
) -> Path:
    """Write a state dict of float32 arrays; under `model` where pickles lie beside."""
    tensors, storages = {}, {}
    for index, (name, value) in enumerate(arrays.items()):
        tensors[name] = tensor(storage(str(index), value.size), value.shape)
        storages[str(index)] = np.ascontiguousarray(value, "<f4").tobytes()
    pickled = state(tensors)
    if beside:
        items = {"model": pickled.removeprefix(PROTO_2)[:-1], **beside}
        pickled = state(items)
    return pack(path, pickled, storages)
