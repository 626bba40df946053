"""`.pth`, `.pt`, `.ckpt` and `.bin` files of torch, read without torch.

They are zip archives of a pickle (see `pickled`) and of one stored entry for each
storage; see `legacy_pth` for those of torch before 1.6. A tensor is a view of its
storage, so what torch shares we share.
"""

from __future__ import annotations

import functools
import io
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights import legacy_pth
from gpt2_jax.weights.arrays import read_into
from gpt2_jax.weights.inert import Inert
from gpt2_jax.weights.legacy_pth import Load
from gpt2_jax.weights.pickled import parse
from gpt2_jax.weights.torch_objects import Storage, Tensor

# Keys of nanoGPT, the book and others.
_NESTED = ("model", "model_state_dict", "state_dict", "net", "weights")

# What beside data.pkl tells that an archive is a program.
_PROGRAMS = {
    "code": "TorchScript",
    "archive_format": "torch.export",
    "models": "torch.export",
}

_SAVE = "save its tensors: torch.save(model.state_dict(), path)"

_MAX_READ = 4 << 20  # bytes at once; the pickle and the directory are far smaller


class _CappedFile(io.FileIO):
    """A file of which nobody reads more than `_MAX_READ` bytes at once.

    zipfile reads the directory of an archive whole, however large it claims to be.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        most = _MAX_READ + 1
        content = (
            super().read(most if size is None or size < 0 else min(size, most)) or b""
        )
        if len(content) == most:
            raise ValueError(
                f"a part that must be small has more than {_MAX_READ:,} bytes"
            )
        return content


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the tensors of a state dict, and what stands beside it in the file.

    Only what the state dict needs is read, not an optimizer's state for example.

    Raises:
        WeightsError: the file is damaged, of the old format, no state dict, or asks
            for anything else than to describe tensors.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
            if legacy_pth.MAGIC in head:
                file.seek(0)
                saved, sizes, load = legacy_pth.read(file)
                state, beside = _state_dict(saved)
                return _read_tensors(state, sizes, load), beside
        if not head.startswith(b"PK"):
            raise ValueError(f"no file that torch.save wrote; {_SAVE}")
        with _CappedFile(path) as file, zipfile.ZipFile(file) as archive:
            folder, entries = _entries(archive, path.stat().st_size)
            _check_byte_order(archive, entries, folder)
            pickled = archive.read(entries[f"{folder}/data.pkl"])
            state, beside = _state_dict(parse(pickled))
            start = f"{folder}/data/"
            sizes = {
                name.removeprefix(start): info.file_size
                for name, info in entries.items()
                if name.startswith(start)
            }
            load = functools.partial(_load, archive, start)
            return _read_tensors(state, sizes, load), beside
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: refused: {error}") from error


def _load(archive: zipfile.ZipFile, start: str, key: str) -> np.ndarray:
    info = archive.getinfo(start + key)
    content = np.empty(info.file_size, np.uint8)
    with cast(io.BufferedIOBase, archive.open(info)) as stream:
        read_into(stream, content)
        stream.read(1)  # at the end zipfile compares the checksum
    return content


def _entries(
    archive: zipfile.ZipFile, file_size: int
) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """Return the archive's one folder, and its entries by name.

    Raises:
        ValueError: an entry that torch does not write.
    """
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename
        parts = PurePosixPath(name).parts
        if program := _PROGRAMS.get("".join(parts[1:2])):
            raise ValueError(f"a program of {program}; {_SAVE}")
        if ".." in parts or name.startswith("/") or "\\" in info.orig_filename:
            raise ValueError(f"the entry {name!r} leads out of the archive")
        if "\0" in info.orig_filename:
            raise ValueError(f"the entry {info.orig_filename!r} is no plain name")
        if name in entries:
            raise ValueError(f"the entry {name!r} is there twice")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ValueError(f"the entry {name!r} is a symbolic link")
        if info.flag_bits & 1:
            raise ValueError(f"the entry {name!r} is encrypted")
        stored = info.compress_type == zipfile.ZIP_STORED
        if not stored or info.compress_size != info.file_size:
            raise ValueError(f"the entry {name!r} is compressed; torch compresses none")
        entries[name] = info
    if sum(info.file_size for info in entries.values()) > file_size:
        raise ValueError("the entries are larger than the file")
    folders = [n.removesuffix("/data.pkl") for n in entries if n.endswith("/data.pkl")]
    if len(folders) != 1:
        raise ValueError(f"{len(folders)} entries are a data.pkl; expected one")
    return folders[0], entries


def _check_byte_order(
    archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], folder: str
) -> None:
    info = entries.get(f"{folder}/byteorder")  # older torch does not write it
    if info is not None and archive.read(info) != b"little":
        raise ValueError("the numbers are big-endian; save it on a common machine")


def _state_dict(value: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state dict in what was pickled, and what stands beside it."""
    if isinstance(value, Inert):
        raise ValueError(
            f"holds an object of {value.name}, which is never made; {_SAVE}"
        )
    if not isinstance(value, dict):
        raise ValueError(f"holds a {type(value).__name__}; expected a state dict")
    nested = [key for key in _NESTED if isinstance(value.get(key), dict)]
    nested = nested or [key for key, item in value.items() if _all_tensors(item)]
    made = [key for key, item in value.items() if isinstance(item, Inert)]
    if made and not nested and not any(isinstance(v, Tensor) for v in value.values()):
        key = next((key for key in made if key in _NESTED), made[0])
        raise ValueError(
            f"holds under {key!r} an object of {value[key].name}, which is never made; "
            f"{_SAVE}"
        )
    beside: dict[str, Any] = {}
    if len(nested) == 1:
        beside = {key: item for key, item in value.items() if key not in nested}
        value = value[nested[0]]
    odd = [key for key, item in value.items() if not isinstance(item, Tensor)]
    if odd or not value:
        keys = ", ".join(map(str, odd[:5])) or "it is empty"
        raise ValueError(f"expected a state dict, all of tensors; look at {keys}")
    return {str(key): item for key, item in value.items()}, beside


def _all_tensors(value: Any) -> bool:
    is_dict = isinstance(value, dict) and len(value) > 0
    return is_dict and all(isinstance(item, Tensor) for item in value.values())


def _read_tensors(
    state: Mapping[str, Tensor], sizes: Mapping[str, int], load: Load
) -> dict[str, np.ndarray]:
    for name, tensor in state.items():  # all of them, before anything is read
        try:
            _check(tensor, sizes.get(tensor.storage.key))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    bytes_of: dict[str, np.ndarray] = {}
    dtype_of: dict[str, np.dtype] = {}
    tensors = {}
    for name, tensor in state.items():
        storage = tensor.storage
        if dtype_of.setdefault(storage.key, storage.dtype) != storage.dtype:
            raise ValueError(f"{name}: shares numbers of another type")
        if storage.key not in bytes_of:
            bytes_of[storage.key] = load(storage.key)
        tensors[name] = _view(tensor, bytes_of[storage.key])
    return tensors


def _check(tensor: Tensor, stored: int | None) -> None:
    """Raise ValueError if the tensor is no view of a storage that is there, whole."""
    storage: Storage = tensor.storage
    if stored is None:
        raise ValueError(f"its storage {storage.key!r} is missing")
    if stored != storage.size * storage.dtype.itemsize:
        raise ValueError(
            f"its storage {storage.key!r} has {stored:,} bytes; expected "
            f"{storage.size:,} of {storage.dtype}"
        )
    if len(tensor.shape) != len(tensor.strides) or len(tensor.shape) > 8:
        raise ValueError(f"shape {tensor.shape} and strides {tensor.strides}")
    if min(tensor.shape, default=1) < 1 or min((tensor.offset, *tensor.strides)) < 0:
        raise ValueError("empty, or with negative strides")
    numbers = 1
    last = tensor.offset
    for size, step in zip(tensor.shape, tensor.strides, strict=True):
        numbers *= size
        last += (size - 1) * step
    # More numbers than the storage has: a few bytes that claim to be a huge tensor.
    if last >= storage.size or numbers > storage.size:
        raise ValueError(f"shape {tensor.shape} lies outside its storage")


def _view(tensor: Tensor, content: np.ndarray) -> np.ndarray:
    dtype = tensor.storage.dtype
    return np.ndarray(
        tensor.shape,
        dtype,
        buffer=content,
        offset=tensor.offset * dtype.itemsize,
        strides=[step * dtype.itemsize for step in tensor.strides],
    )
