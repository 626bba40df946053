"""Random weights, to see what those of a pretrained model are worth."""

from __future__ import annotations

import math

import numpy as np

from gpt2_jax.config import PRESETS, GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import Params, flatten, unflatten

PREFIX = "random:"  # before the name of a size

STD = 0.02  # of GPT-2's kernels and embeddings before training (Radford et al. 2019)


def untrained(name: str, seed: int) -> tuple[GPT2Config, Params]:
    """Return the config and random params (numpy) of `name`, such as "random:mini".

    Biases are 0 and scales 1; kernels that write into the residual stream are smaller
    by the square root of how many there are.

    Raises:
        WeightsError: no size of that name.
    """
    size = name.removeprefix(PREFIX)
    if size not in PRESETS:
        sizes = ", ".join(PREFIX + known for known in PRESETS)
        raise WeightsError(f"{name}: no such size; known: {sizes}")
    config, random = PRESETS[size], np.random.default_rng(seed)
    params: dict[str, np.ndarray] = {}
    for path, leaf in flatten(param_shapes(config)).items():
        if path.endswith(("/scale", "/bias")):
            params[path] = np.full(leaf.shape, path.endswith("/scale"), np.float32)
            continue
        std = STD
        if path.endswith("c_proj/kernel"):
            std /= math.sqrt(2 * config.num_layers)
        params[path] = std * random.standard_normal(leaf.shape, np.float32)
    return config, unflatten(params)
