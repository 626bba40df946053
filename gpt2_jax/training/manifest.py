"""What makes a folder of orbax a checkpoint: a manifest, written last.

checkpoints/<step>/     the pytree, written by orbax's StandardCheckpointer
    manifest.json       format and its own hash, beside the fields of `Manifest`

A kill leaves no manifest or all of it. orbax keeps no checksum of array data, so that a
flipped bit would pass: `leaves` has the SHA-256 of each, `files` that of each file.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpt2_jax.errors import WeightsError
from gpt2_jax.training.artifacts import write_json
from gpt2_jax.weights import files
from gpt2_jax.weights.json_file import digest, parse

FORMAT = 2  # 1: orbax's CheckpointManager, hashes in an item of its own
MANIFEST = "manifest.json"
_THREADS = 4  # hashlib lets go of the interpreter


class DamageError(WeightsError):
    """A checkpoint was saved whole, and is no longer."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds."""

    step: int
    score: float | None  # None: not a candidate for the best
    meta: Mapping[str, Any]
    run: str  # hash of what the run is; see `identity`
    shapes: Mapping[str, str]  # dtype and shape by path in the pytree
    leaves: Mapping[str, str]  # SHA-256 by path in the pytree
    files: Mapping[str, str]  # SHA-256 by path in the folder

    def write(self, folder: Path) -> None:
        """Write it so that it is there as a whole or not at all."""
        values = {"format": FORMAT, **dataclasses.asdict(self)}
        write_json(folder / MANIFEST, {**values, "sha256": digest(values)})


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a step; None: there is none, it was never saved whole.

    Raises:
        DamageError: it is not as it was written.
        WeightsError: another version wrote it.
    """
    path = folder / MANIFEST
    if not path.exists():
        if (folder / "sha256").is_dir():
            raise WeightsError(
                f"{folder}: a checkpoint of format 1, this version reads {FORMAT}; "
                "finish the run with the version that began it, or use another "
                "--workdir"
            )
        return None
    try:
        values = parse(path.read_bytes())
        expected, found = values.pop("sha256"), values["format"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DamageError(f"{path}: damaged ({error!r:.100})") from None
    if isinstance(found, int) and found > FORMAT:
        raise WeightsError(
            f"{folder}: a checkpoint of format {found}, this version reads {FORMAT}; "
            "resume with a newer gpt2-jax"
        )
    if digest(values) != expected:
        raise DamageError(f"{path}: damaged (checksum mismatch)")
    del values["format"]
    return Manifest(**values)


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


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that orbax wrote into a step."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    paths = [path for path in paths if path.name.strip(".") not in _OURS]
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = pool.map(files.sha256_of, paths)
        names = [path.relative_to(folder).as_posix() for path in paths]
        return dict(zip(names, hashes, strict=True))


_OURS = (MANIFEST, f"{MANIFEST}.partial")


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
