"""OpenAI's TensorFlow checkpoints, read without TensorFlow.

`<name>.index` is a table of LevelDB (doc/table_format.md) from tensor names to
BundleEntryProto messages (tensorflow/core/protobuf/tensor_bundle.proto), which say
where in `<name>.data-00000-of-00001` a tensor lies.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights.arrays import read_into

HPARAMS = "hparams.json"

_STATE = "checkpoint"  # TensorFlow's note of which checkpoint is the newest


_MAGIC, _FOOTER_BYTES = 0xDB4775248B80FB57, 48


_MAX_INDEX_BYTES = 1 << 20  # that of the largest GPT-2 has 20 kB

_MAX_KEY_BYTES = 256  # a few bytes of index can name a key as long as the one before

_DTYPES = {  # tensorflow/core/framework/types.proto
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    14: np.dtype(ml_dtypes.bfloat16),
    19: np.dtype("<f2"),
}


def read(folder: Path) -> dict[str, np.ndarray]:
    """Read all floating-point tensors of the newest checkpoint in `folder`.

    Raises:
        WeightsError: a file is missing or damaged.
    """
    index = _newest(folder)
    try:
        if index.stat().st_size > _MAX_INDEX_BYTES:
            raise ValueError(f"more than {_MAX_INDEX_BYTES:,} bytes")
        table = dict(_table(index.read_bytes()))
        shards = _fields(table.pop(b"")).get(1, [0])[0]
        if shards != 1:
            raise ValueError(f"{shards} shards; OpenAI's checkpoints have one")
    except FileNotFoundError:
        raise WeightsError(f"{index}: no such file") from None
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise WeightsError(
            f"{index}: not a whole TensorFlow index ({error!r}); get it again"
        ) from error
    data = index.with_suffix(".data-00000-of-00001")
    try:
        with data.open("rb", buffering=0) as file:
            size = data.stat().st_size
            return {
                name.decode(): value
                for name, entry in table.items()
                if (value := _tensor(file, size, entry)) is not None
            }
    except FileNotFoundError:
        raise WeightsError(f"{data}: no such file") from None
    except (OSError, ValueError, TypeError, LookupError, struct.error) as error:
        raise WeightsError(
            f"{data}: does not hold what {index.name} says ({error!r}); get both again"
        ) from error


def _newest(folder: Path) -> Path:
    name = "model.ckpt"
    if (folder / _STATE).is_file():
        text = (folder / _STATE).read_text("utf-8", errors="replace")
        found = re.search(r'^model_checkpoint_path: "(?:.*/)?([^"/\\]+)"', text, re.M)
        name = found[1] if found else name
    return folder / f"{name}.index"


def _tensor(file: io.FileIO, file_size: int, entry: bytes) -> np.ndarray | None:
    """Read what a BundleEntryProto describes; None for counters and the like."""
    fields = _fields(entry)
    dtype = _DTYPES.get(fields[1][0])
    if dtype is None:
        return None
    dims = _fields(fields[2][0]).get(2, []) if 2 in fields else []
    shape = [_fields(dim).get(1, [0])[0] for dim in dims]
    offset, size = fields.get(4, [0])[0], fields[5][0]
    numbers = 1
    for length in shape:
        numbers *= length
    if numbers * dtype.itemsize != size or offset + size > file_size:
        raise ValueError(f"{size} bytes at {offset} for shape {shape}")
    value = np.empty(shape, dtype)
    file.seek(offset)
    read_into(file, value)
    return value


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a LevelDB table, in order."""
    footer = content[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("no table")
    at = 0
    handle = []  # offset and size, first of the meta index, then of the index
    for _ in range(4):
        number, at = _varint(footer, at)
        handle.append(number)
    end = 0
    for _, pointer in _block(content, handle[2], handle[3]):
        offset, at = _varint(pointer, 0)
        size, _ = _varint(pointer, at)
        if offset < end:
            raise ValueError("blocks that overlap")
        yield from _block(content, offset, size)
        end = offset + size


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a block; a key shares its start with the one before."""
    end = offset + size
    if end + 5 > len(content):
        raise ValueError("a block outside the file")
    if content[end] != 0:
        raise ValueError("compressed; TensorFlow compresses no index")
    (checksum,) = struct.unpack_from("<I", content, end + 1)
    if _masked_crc32c(content[offset : end + 1]) != checksum:
        raise ValueError("checksum mismatch")
    (restarts,) = struct.unpack_from("<I", content, end - 4)
    end -= 4 + 4 * restarts
    key = b""
    while offset < end:
        shared, offset = _varint(content, offset)
        rest, offset = _varint(content, offset)
        length, offset = _varint(content, offset)
        key = key[:shared] + content[offset : offset + rest]
        if len(key) > _MAX_KEY_BYTES:
            raise ValueError(f"a name of {len(key):,} bytes")
        yield key, content[offset + rest : offset + rest + length]
        offset += rest + length


def _fields(message: bytes) -> dict[int, list[Any]]:
    """Return the values of each field number of a protocol buffer."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
            value, at = message[at : at + length], at + length
        else:
            raise ValueError(f"wire type {kind}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a base-128 number and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number too long")


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli, reflected
        table.append(byte)
    return table


_CRC = _crc_table()


def _masked_crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
