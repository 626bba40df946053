"""A checkpoint of llm.c: sizes in a header, and the tensors of all blocks together.

Source: https://github.com/karpathy/llm.c, write_model in train_gpt2.py. The embedding
is padded to a round number of rows, which are no tokens; the rest is minGPT's model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights.inert import Inert

MAGIC = 20240326

_HEADER = 256  # int32
_TYPES: Mapping[int, np.dtype] = {  # by the version in the header
    3: np.dtype("<f4"),
    5: np.dtype(ml_dtypes.bfloat16),
}
_EXPORT = "write it again with the train_gpt2.py of a newer llm.c"


def is_one(path: Path) -> bool:
    """Does a file begin as a checkpoint of llm.c?"""
    with path.open("rb") as file:
        return file.read(4) == MAGIC.to_bytes(4, "little")


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Inert]]:
    """Return the tensors, by minGPT's names, and the config beside them.

    Raises:
        WeightsError: another version, a damaged header, or not all tensors.
    """
    with path.open("rb") as file:
        header = np.frombuffer(file.read(4 * _HEADER), "<i4")
    if len(header) < _HEADER:
        raise WeightsError(f"{path}: a checkpoint of llm.c, but cut off")
    _, version, length, vocab, layers, heads, width, rows = map(int, header[:8])
    if version not in _TYPES:
        raise WeightsError(
            f"{path}: version {version} of llm.c's checkpoints; 3 and 5 are read; "
            f"{_EXPORT}"
        )
    if min(length, vocab, layers, heads, width) < 1 or rows < vocab:
        raise WeightsError(f"{path}: a checkpoint of llm.c with a damaged header")
    kind = _TYPES[version]
    shapes = _shapes(length, rows, layers, width)
    expected = 4 * _HEADER + kind.itemsize * sum(map(math.prod, shapes.values()))
    if (size := path.stat().st_size) != expected:
        raise WeightsError(
            f"{path}: a checkpoint of llm.c of {expected:,} bytes by its header, but "
            f"it has {size:,}"
        )
    every = np.fromfile(path, kind, offset=4 * _HEADER)
    tensors: dict[str, np.ndarray] = {}
    start = 0
    for name, shape in shapes.items():
        part = every[start : start + math.prod(shape)].reshape(shape)
        start += part.size
        if "{i}" in name:
            tensors |= {name.format(i=i): part[i] for i in range(layers)}
        else:
            tensors[name] = part
    tensors["wte.weight"] = tensors["wte.weight"][:vocab]
    sizes = {"block_size": length, "vocab_size": vocab, "n_layer": layers}
    sizes |= {"n_head": heads, "n_embd": width}
    return tensors, {"config": Inert("GPTConfig", sizes)}


def _shapes(
    length: int, rows: int, layers: int, width: int
) -> dict[str, tuple[int, ...]]:
    """Return the tensors in their order; those with `{i}` hold all blocks."""
    wide = {"attn.c_attn": (3 * width, width), "attn.c_proj": (width, width)}
    wide |= {"mlp.c_fc": (4 * width, width), "mlp.c_proj": (width, 4 * width)}
    norm = {"ln_1": (width,), "ln_2": (width,)}
    order = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (rows, width),
        "wpe.weight": (length, width),
    }
    for layer in order:
        shape = (norm | wide)[layer]
        shapes[f"h.{{i}}.{layer}.weight"] = (layers, *shape)
        shapes[f"h.{{i}}.{layer}.bias"] = (layers, shape[0])
    return shapes | {"ln_f.weight": (width,), "ln_f.bias": (width,)}
