"""Leaves of a pytree by name: their shapes, their hashes, their values on the host."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

_THREADS = 4  # hashlib lets go of the interpreter


def leaf_shapes(tree: Any) -> dict[str, str]:
    """Return what each leaf is, such as float32[768,2], by its path."""
    return {
        leaf_name(path): f"{leaf.dtype}{list(leaf.shape)}".replace(" ", "")
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def hash_leaves(tree: Any) -> dict[str, str]:
    """Return the SHA-256 of each leaf's bytes, by its path.

    Every process of a run must call it: what lies on several is gathered.
    """
    paths = jax.tree_util.tree_leaves_with_path(tree)
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = pool.map(_leaf_hash, (on_host(leaf) for _, leaf in paths))
        return dict(zip((leaf_name(path) for path, _ in paths), hashes, strict=True))


def leaf_name(path: tuple[Any, ...]) -> str:
    """Return a path in a pytree as `params/h_11/attn/c_attn/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def on_host(leaf: Any) -> np.ndarray:
    """Return the whole of a leaf, wherever its parts are."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if leaf.is_fully_replicated:
            return np.asarray(leaf.addressable_data(0))
        from jax.experimental import multihost_utils

        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)


def _leaf_hash(leaf: np.ndarray) -> str:
    flat = np.ascontiguousarray(leaf).reshape(-1)
    return hashlib.sha256(flat.view(np.uint8).data).hexdigest()
