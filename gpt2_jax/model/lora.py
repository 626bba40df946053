"""Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) in the param pytree."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Key

from gpt2_jax.config import GPT2Config
from gpt2_jax.model.tree import Params, flatten, unflatten


def add_adapters(params: Params, config: GPT2Config, key: Key[Array, ""]) -> Params:
    """Return `params` with `lora_a` [in, R] and `lora_b` [R, out] beside each kernel.

    A is drawn as LLMs-from-scratch appendix E draws it, B is zero, so the model's
    logits stay what they were. The head has none: it is trained whole.
    """
    flat = flatten(params)
    kernels = sorted(path for path in flat if path.endswith("/kernel"))
    for index, path in enumerate(k for k in kernels if k != "out_head/kernel"):
        layer = path.removesuffix("/kernel")
        fan_in, fan_out = flat[path].shape
        flat[f"{layer}/lora_a"] = jax.random.uniform(
            jax.random.fold_in(key, index),
            (fan_in, config.lora_rank),
            minval=-1 / math.sqrt(fan_in),
            maxval=1 / math.sqrt(fan_in),
        )
        flat[f"{layer}/lora_b"] = jnp.zeros((config.lora_rank, fan_out))
    return unflatten(flat)


def merge_adapters(params: Params, config: GPT2Config) -> Params:
    """Return `params` with every adapter added into its kernel, and no adapters."""
    flat = {path: np.asarray(leaf) for path, leaf in flatten(params).items()}
    merged = {}
    for path, leaf in flat.items():
        layer, _, name = path.rpartition("/")
        if name == "kernel" and f"{layer}/lora_a" in flat:
            low_rank = flat[f"{layer}/lora_a"] @ flat[f"{layer}/lora_b"]
            leaf = leaf + (config.lora_alpha / config.lora_rank) * low_rank
        if name not in ("lora_a", "lora_b"):
            merged[path] = leaf
    return unflatten(merged)
