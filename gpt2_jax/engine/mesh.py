"""A mesh of one axis, and how trees lie on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gpt2_jax.engine.devices import Device

AXIS = "data"


def make_mesh(devices: Sequence[Device]) -> Mesh:
    """Return a mesh of one axis, over which batches are cut."""
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of what lies whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_example(mesh: Mesh, axis: int) -> NamedSharding:
    """Return the sharding of batches whose examples lie along `axis`."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def leaf_sharding(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """Return how fsdp cuts a leaf: along its largest axis that the devices divide."""
    spec: list[str | None] = [None] * len(shape)
    cut = [size if size % mesh.size == 0 else 0 for size in shape]
    if any(cut):
        spec[cut.index(max(cut))] = AXIS
    return NamedSharding(mesh, PartitionSpec(*spec))


def place_batches(mesh: Mesh, batches: dict[str, np.ndarray], axis: int) -> Any:
    """Send each device its examples, which lie along `axis` of what a process has."""
    sharding = by_example(mesh, axis)
    if jax.process_count() == 1:
        return jax.device_put(batches, sharding)
    return {
        name: jax.make_array_from_process_local_data(sharding, x)
        for name, x in batches.items()
    }


def place_tree(sharding: Callable[[tuple[int, ...]], NamedSharding], tree: Any) -> Any:
    """Copy a host tree to the devices, each leaf as `sharding` of its shape says."""

    def put(leaf: Any) -> Array:
        # A copy, for steps donate what they are given. Committed, all of it: what
        # comes from a checkpoint is, and were the rest not, every program would be
        # compiled twice.
        host = np.array(leaf, jax.dtypes.canonicalize_dtype(np.asarray(leaf).dtype))
        return jax.make_array_from_callback(
            host.shape, sharding(host.shape), lambda index: host[index]
        )

    return jax.tree.map(put, tree)


def gather_tree(mesh: Mesh, tree: Any) -> Any:
    """Return a tree of whole arrays on the host."""

    def whole(leaf: Array) -> np.ndarray:
        if leaf.is_fully_addressable and not leaf.is_fully_replicated:
            return np.array(leaf)
        return np.array(jax.device_put(leaf, replicated(mesh)).addressable_data(0))

    return jax.tree.map(whole, tree)


def specs(mesh: Mesh) -> tuple[PartitionSpec, PartitionSpec, PartitionSpec]:
    """Return that of what is whole, of batches by step, and of one batch."""
    every = replicated(mesh), by_example(mesh, 1), by_example(mesh, 0)
    whole, steps, rows = (sharding.spec for sharding in every)
    return whole, steps, rows


def each_device(mesh: Mesh, program: Any, in_specs: Any, out_specs: Any) -> Any:
    """Return `program`, run on each device on its part of what it is given."""
    # check_vma on would add up the gradients as well, and so twice.
    return jax.shard_map(
        program, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )
