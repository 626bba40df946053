"""Whether the leaves on the disk are those that were saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from gpt2_jax.checkpoints.manifest import DamageError, Manifest, hash_files
from gpt2_jax.errors import WeightsError
from gpt2_jax.storage.leaves import hash_leaves, leaf_name, leaf_shapes

BATCH_BYTES = 256 << 20  # of leaves that are read at once


def refuse_other_leaves(folder: Path, saved: Manifest, tree: Any) -> None:
    """Compare a step with its manifest before orbax, which says little, reads it.

    Raises:
        WeightsError: its leaves are not those of `tree`.
        DamageError: its files are not those that were saved.
    """
    here = leaf_shapes(tree)
    odd = _differing(here, saved.shapes)
    if odd:
        raise WeightsError(
            f"{folder}: of another model: {odd[0]} is {saved.shapes.get(odd[0])} "
            f"there, {here.get(odd[0])} here; use another --workdir"
        )
    wrong = _differing(hash_files(folder), saved.files)
    if wrong:
        leaves = check_leaves(folder, tree, saved.leaves, one_by_one=True)
        raise DamageError(
            f"{folder}: damaged: checksum mismatch in {', '.join(wrong)}; leaves: "
            f"{shorten(leaves)}"
        )


def _differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    names = sorted({*ours, *theirs})
    return [name for name in names if ours.get(name) != theirs.get(name)]


def check_leaves(
    folder: Path,
    tree: Any,
    expected: Mapping[str, str],
    *,
    one_by_one: bool = False,
) -> list[str]:
    """Return what is wrong with each leaf of `tree` in the step `folder`.

    One by one, a leaf that cannot be read takes no other with it.
    """
    # Alone, whatever other processes do: no barrier of theirs may be met here.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix="readback",
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    wrong: list[str] = []
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        for names in _batches(tree, 1 if one_by_one else BATCH_BYTES):
            try:
                got = hash_leaves(_read(reader, folder, tree, names))
            except Exception as error:  # orbax raises bare Exception too
                reason = (str(error).splitlines() or [repr(error)])[0]
                wrong += [f"{name} unreadable ({reason[:80]})" for name in names]
                continue
            wrong += [
                f"{name} checksum mismatch"
                for name in names
                if got[name] != expected.get(name)
            ]
    return wrong


def shorten(wrong: list[str]) -> str:
    """Return the first of what `check_leaves` says."""
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return ("; ".join(wrong[:3]) or "all readable") + more


def _batches(tree: Any, max_bytes: int) -> Iterator[list[str]]:
    """Yield the names of leaves that together have `max_bytes`, or of one."""
    names: list[str] = []
    size = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if names and size + leaf.nbytes > max_bytes:
            yield names
            names, size = [], 0
        names.append(leaf_name(path))
        size += leaf.nbytes
    if names:
        yield names


def _read(
    reader: ocp.Checkpointer, folder: Path, tree: Any, names: Iterable[str]
) -> dict[str, np.ndarray]:
    wanted = set(names)
    target = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
            if leaf_name(path) in wanted
            else ocp.PLACEHOLDER
        ),
        tree,
    )
    arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), target)
    restored = reader.restore(
        folder, args=ocp.args.PyTreeRestore(target, restore_args=arrays)
    )
    leaves = jax.tree_util.tree_leaves_with_path(restored)
    named = ((leaf_name(path), leaf) for path, leaf in leaves)
    return {name: leaf for name, leaf in named if name in wanted}
