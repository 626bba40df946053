"""Safetensors files: what the library writes is read, all else is refused."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from gpt2_jax.errors import WeightsError
from gpt2_jax.storage.memory import ALIGNMENT
from gpt2_jax.weights import safetensors as safetensors_file


def whole(header, data: bytes = bytes(8), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(start=0, end=8, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


FAULTS = {
    "empty": (b"", "0 bytes are too few"),
    "less than 8 bytes": (b"1234567", "7 bytes are too few"),
    "a header of more than 100 MB": (
        whole({"a": entry()}, length=100_000_001),
        "a header of 100,000,001 bytes",
    ),
    "a header of 2**63 bytes": (whole({}, length=2**63), "a header of 9,223,"),
    "a header larger than the file": (whole({"a": entry()}, length=900), "header"),
    "an empty header": (whole(b""), "header"),
    "bad JSON": (whole(b'{"a": '), "header"),
    "no object": (whole(b"[]"), "header"),
    "truncated data": (whole({"a": entry()})[:-1], "incomplete|cover"),
    "trailing bytes": (whole({"a": entry()}) + b"1", "cover"),
    "overlap": (
        whole({"a": entry(), "b": entry(4, 12)}, bytes(12)),
        "invalid offset",
    ),
    "a hole": (whole({"a": entry(), "b": entry(12, 20)}, bytes(20)), "invalid offset"),
    "a shape of another size": (whole({"a": entry(shape=(3,))}), "(?i)tensor"),
    "a shape that overflows": (
        whole({"a": entry(shape=(2**62, 2**62))}),
        "(?i)overflow|compute",
    ),
    "an unknown type": (whole({"a": entry(dtype="F31")}), "F31|variant"),
    "a type that no GPT-2 has": (whole({"a": entry(dtype="U64", shape=(1,))}), "U64"),
    "a key twice": (
        whole(b'{"a": X, "a": X}'.replace(b"X", json.dumps(entry()).encode())),
        "has twice: a",
    ),
    "a field twice": (
        whole(json.dumps({"a": entry()}).replace("{", '{"dtype": "F32",', 2)[15:]
              .encode()),
        "(?i)twice|duplicate|expected",
    ),
}  # fmt: skip


@pytest.mark.fault(22, 23)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_malformed_file_is_refused(tmp_path, fault):
    content, match = FAULTS[fault]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=match) as caught:
        safetensors_file.read(path)
    assert str(path) in str(caught.value)


def test_every_type_of_a_gpt2_is_read(tmp_path):
    tensors = {
        "scalar": np.asarray(2.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "single": np.arange(6, dtype=np.float32).reshape(2, 3),
        "half": np.arange(3, dtype=np.float16),
        "double": np.arange(3, dtype=np.float64),
        "brain": np.arange(3).astype(ml_dtypes.bfloat16),
        "mask": np.tri(4, dtype=bool),
        "long": np.arange(-2, 2),
        "byte": np.arange(3, dtype=np.uint8),
    }
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(tensors, path, {"format": "pt"})
    read = safetensors_file.read(path)
    assert set(read) == set(tensors)
    for name, value in tensors.items():
        assert (read[name].dtype, read[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.fault(22)
def test_a_huge_header_takes_no_memory(tmp_path):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 99 << 20))
        file.truncate(1 << 30)  # sparse: it takes no disk either
    code = f"""
from pathlib import Path
from gpt2_jax.errors import WeightsError
from gpt2_jax.weights import safetensors as safetensors_file
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before = peak()
try:
    safetensors_file.read(Path({str(path)!r}))
except WeightsError as error:
    print(peak() - before, peak(), error)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak is read from /proc, which this system has not")
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    grown, peak, message = shown.split(" ", 2)
    assert int(grown) < 10_000  # kB
    assert int(peak) < 200_000
    assert "a header of 103,809,024 bytes" in message


def test_tensors_are_read_to_where_xla_takes_them_and_hashed_only_if_told(
    tmp_path, monkeypatch
):
    tensors = {"a": np.arange(3.0, dtype=np.float32), "b": np.ones((2, 5), np.float32)}
    hashed, digest = [], safetensors_file.digest
    monkeypatch.setattr(
        safetensors_file, "digest", lambda x: hashed.append(x) or digest(x)
    )
    for alone in (False, True):  # the seal of a folder has hashed its files already
        safetensors_file.write_safetensors(tmp_path / "a", tensors, alone=alone)
        hashed.clear()
        for name, value in safetensors_file.read(tmp_path / "a").items():
            np.testing.assert_array_equal(value, tensors[name])
            assert value.ctypes.data % ALIGNMENT == 0
        assert len(hashed) == alone
