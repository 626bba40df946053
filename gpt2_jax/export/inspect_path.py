"""What lies at a path: trees, shapes, bytes, and what it can be used for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpt2_jax.checkpoints.manifest import MANIFEST, DamageError, read_manifest
from gpt2_jax.errors import WeightsError
from gpt2_jax.model.tree import flatten
from gpt2_jax.weights import files, orbax_folder
from gpt2_jax.weights.trained import load_model, model_folder

_TREE = "_METADATA"  # beside each pytree of orbax, v0's and v1's
_RUN = ("config.json", "run.json", "metrics.jsonl", "results.json")


def inspect_path(path: Path) -> Iterator[str]:
    """Yield, line by line, what is known of a file or folder.

    Of orbax's arrays only what they are is read, so that the devices that wrote them
    need not be there, and neither their memory.

    Raises:
        WeightsError: nothing there that is known, or it is damaged.
    """
    if not path.exists():
        raise WeightsError(f"{path}: no such file or folder")
    trees = sorted(found.parent for found in path.rglob(_TREE)) if path.is_dir() else []
    if path.is_dir() and (model := model_folder(path)) is not None:
        yield from _trained(path, model)
    for folder in trees:
        yield from _orbax(folder)
    if orbax_folder.is_one(path):
        yield f"use: gpt2-jax finetune --weights {path}, or gpt2-jax convert"
    if trees or (path.is_dir() and model_folder(path) is not None):
        return
    contents = files.read_contents(path)
    yield f"{path}: weights"
    yield from _table(contents.tensors)
    for name, value in contents.beside.items():
        yield f"beside the tensors: {name} = {value!r:.200}"
    yield (
        f"use: gpt2-jax finetune --weights {path}, if its names are those of GPT-2 "
        "(docs/weights.md); gpt2-jax convert says so"
    )


def _trained(path: Path, folder: Path) -> Iterator[str]:
    trained = load_model(folder)
    yield f"{path}: a trained classifier of {', '.join(trained.classes)}"
    held = [name for name in _RUN if (path / name).is_file()]
    if held:
        yield f"a run, with {', '.join(held)}"
    yield f"config: {trained.config}"
    yield f"texts: up to {trained.max_length} tokens"
    yield f"temperature: {trained.temperature}"
    yield from _table(flatten(trained.params))
    yield f"use: gpt2-jax predict, evaluate, export or serve {path}"


def _orbax(folder: Path) -> Iterator[str]:
    yield f"{folder}: a pytree of orbax"
    yield from _step(folder)
    yield from _table(_leaves(folder))


def _step(folder: Path) -> Iterator[str]:
    """Say what stands beside the tree: our manifest, or orbax's metadata."""
    try:
        manifest = read_manifest(folder)
    except DamageError as error:
        yield f"damaged: {error}"
        return
    if manifest is not None:
        score = "none" if manifest.score is None else f"{manifest.score:.6g}"
        yield (
            f"step {manifest.step}, score {score}, {len(manifest.files)} files with a "
            f"SHA-256 each ({MANIFEST})"
        )
        yield f"use: gpt2-jax finetune --resume --workdir {folder.parent.parent}"
    for where in (folder, folder.parent):
        for name in ("_CHECKPOINT_METADATA", "orbax.checkpoint"):
            if (where / name).is_file():
                told = _json(where / name)
                custom = told.get("custom_metadata") or told.get("custom") or {}
                handlers = told.get("item_handlers")
                yield f"{name}: handlers {handlers}, custom metadata {custom}"
                return


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: damaged ({error!r:.100})") from None
    return found if isinstance(found, dict) else {}


def _leaves(folder: Path) -> dict[str, Any]:
    """Return shape and dtype of each leaf by its path, from orbax's own metadata."""
    import orbax.checkpoint as ocp
    from etils import epath

    try:
        found = ocp.PyTreeCheckpointHandler().metadata(epath.Path(folder.absolute()))
        tree: Any = getattr(found, "tree", found)
    except Exception as error:  # orbax raises what it likes
        raise WeightsError(f"{folder}: damaged ({error!r:.200})") from error
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda x: hasattr(x, "dtype")
    )
    return {
        "/".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path): x
        for path, x in leaves
    }


def _table(leaves: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each leaf, and their sum."""
    total = numbers = 0
    for name, leaf in leaves.items():
        shape, dtype = tuple(leaf.shape or ()), np.dtype(leaf.dtype)
        count = math.prod(shape)
        numbers, total = numbers + count, total + count * dtype.itemsize
        yield f"  {name}  {list(shape)}  {dtype}  {count * dtype.itemsize:,} bytes"
    yield f"{len(leaves)} leaves, {numbers:,} numbers, {total:,} bytes"
