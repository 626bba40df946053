"""Time and peak memory of `load_pretrained` beside `safetensors.numpy.load_file`.

    python experiments/benchmarks/load_weights.py
    python experiments/benchmarks/load_weights.py --size 1558M --repeats 1

Writes random weights of the size given into a temporary folder, in float32 and in
bfloat16, and loads them in a process of its own each time, from a warm page cache. The
table has the best time and the largest peak of the repeats; memory is what the load
added to the process that had imported everything. Linux only.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import safetensors.numpy

from gpt2_jax import load_pretrained
from gpt2_jax.config import PRESETS
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import flatten
from gpt2_jax.weights.rules import HUGGING_FACE

# Kind of load, type in the file, type asked for.
CASES = (
    ("safetensors.numpy.load_file", "float32", None),
    ("load_pretrained", "float32", "float32"),
    ("load_pretrained", "float32", "bfloat16"),
    ("load_pretrained", "bfloat16", "float32"),
    ("load_pretrained", "bfloat16", "bfloat16"),
)
TYPES = {"float32": ("F32", np.float32), "bfloat16": ("BF16", ml_dtypes.bfloat16)}


def write_random(path: Path, size: str, dtype: str) -> None:
    """Write a safetensors file of random weights, one tensor at a time."""
    config = PRESETS[size]
    code, numpy_dtype = TYPES[dtype]
    shapes = flatten(param_shapes(config))
    header, end, tensors = {}, 0, []
    for rule in HUGGING_FACE.expand(config.num_layers):
        if rule.path not in shapes:  # the tied language head
            continue
        shape = shapes[rule.path].shape
        start, end = end, end + int(np.prod(shape)) * np.dtype(numpy_dtype).itemsize
        header[rule.tensor] = {
            "dtype": code,
            "shape": list(shape),
            "data_offsets": [start, end],
        }
        tensors.append(shape)
    text = json.dumps(header).encode()
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in tensors:
            value = random.standard_normal(shape, np.float32).astype(numpy_dtype)
            file.write(value.view(np.uint8).data)


def memory(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(x.split()[1]) for x in lines if x.startswith(field))


def load(path: Path, kind: str, dtype: str) -> None:
    """Load once, and print seconds and bytes; runs in a process of its own."""
    before, start = memory("VmRSS"), time.perf_counter()
    if kind == "load_pretrained":
        loaded = load_pretrained(path, dtype=dtype)
    else:
        loaded = safetensors.numpy.load_file(path)
    seconds = time.perf_counter() - start
    assert loaded
    print(json.dumps([seconds, memory("VmHWM") - before]))


def measure(path: Path, kind: str, dtype: str | None, repeats: int) -> list[float]:
    command = [sys.executable, __file__, "--load", str(path), kind, str(dtype)]
    rows = [
        json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        for _ in range(repeats)
    ]
    return [min(row[0] for row in rows), max(row[1] for row in rows)]


def device() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.split(": ")[1] for x in lines if x.startswith("model name")), "CPU")
    cores = sum(x.startswith("processor") for x in lines)
    packages = ("jax", "numpy", "safetensors", "ml_dtypes")
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    return f"{model}, {cores} cores; Python {platform.python_version()}, {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=list(PRESETS), default="124M")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        path, kind, dtype = arguments.load
        load(Path(path), kind, dtype)
        return
    print(f"{device()}\n")
    print(f"| {arguments.size} | file | params | file MB | seconds | x | MB | x file |")
    print("|---|---|---|---|---|---|---|---|")
    base = None
    with tempfile.TemporaryDirectory() as folder:
        for kind, stored, asked in CASES:
            path = Path(folder) / f"{stored}.safetensors"
            if not path.exists():
                shutil.rmtree(folder)  # the file of the other type, to save the disk
                Path(folder).mkdir()
                write_random(path, arguments.size, stored)
            seconds, peak = measure(path, kind, asked, arguments.repeats)
            base = base or seconds
            size = path.stat().st_size
            print(
                f"| {kind} | {stored} | {asked or stored} | {size / 1e6:.0f} | "
                f"{seconds:.2f} | {seconds / base:.2f} | {peak / 1e6:.0f} | "
                f"{peak / size:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
