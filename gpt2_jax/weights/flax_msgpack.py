"""`flax_model.msgpack`, as transformers wrote it for its Flax models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flax import serialization, traverse_util

from gpt2_jax.errors import WeightsError

SUFFIX = ".msgpack"


def read(path: Path) -> dict[str, np.ndarray]:
    """Read all tensors, named by their path with dots.

    Raises:
        WeightsError: the file is damaged, or holds something else.
    """
    try:
        tree = serialization.msgpack_restore(path.read_bytes())
        flat = traverse_util.flatten_dict(tree, sep=".")
    except Exception as error:  # msgpack and numpy have no common class of errors
        raise WeightsError(f"{path}: no msgpack of flax ({error})") from error
    odd = [name for name, leaf in flat.items() if not isinstance(leaf, np.ndarray)]
    if odd:
        raise WeightsError(f"{path}: {odd[0]} is no array")
    params = {name.removeprefix("params."): leaf for name, leaf in flat.items()}
    return {str(name): np.asarray(leaf) for name, leaf in params.items()}
