"""A run that has diverged: what it says, and what it leaves to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpt2_jax.distributed import is_first
from gpt2_jax.errors import NonFiniteError
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.storage.leaves import leaf_name, on_host

DIAGNOSTICS = "diagnostics.json"


def nonfinite_leaves(tree: Any) -> dict[str, int]:
    """Return how many values of each leaf are NaN or infinite, where any is."""
    found: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            count = int(np.size(leaf) - np.isfinite(on_host(leaf)).sum())
            if count:
                found[leaf_name(path)] = count
    return found


def refuse_nonfinite(tree: Any, step: int) -> None:
    """Refuse to save a tree with NaN or infinity.

    Raises:
        NonFiniteError: it has some.
    """
    leaves = nonfinite_leaves(tree)
    if leaves:
        raise NonFiniteError(
            f"step {step}: NaN or infinity in {_first(leaves)}; {_WHAT_TO_DO}"
        )


def stop_diverged(
    workdir: Path,
    step: int,
    loss: float,
    tree: Any,
    last_saved: int | None,
    *,
    name: str = "loss",
) -> None:
    """Write diagnostics.json and end the run.

    Raises:
        NonFiniteError: always.
    """
    leaves = nonfinite_leaves(tree)
    if is_first():
        write_json(
            workdir / DIAGNOSTICS,
            {
                "step": step,
                "loss": repr(loss),  # JSON has no NaN
                "nonfinite_leaves": leaves,
                "last_checkpoint": last_saved,
            },
        )
    kept = "no step is saved yet"
    if last_saved is not None:
        kept = f"the checkpoint of step {last_saved} is kept"
    raise NonFiniteError(
        f"step {step}: the {name} is {loss}; first leaf with NaN or infinity: "
        f"{_first(leaves)}; {kept}, more in {workdir / DIAGNOSTICS}; "
        f"{_OVERFLOW if (step, name) == (1, 'loss') else _WHAT_TO_DO}"
    )


_WHAT_TO_DO = "try a lower --learning-rate"

_OVERFLOW = (
    "no step was taken before, so the weights themselves overflow on these texts: "
    "choose --dtype float32 if it was not, or other --weights"
)


def _first(leaves: dict[str, int]) -> str:
    return next((f"{n} ({count} values)" for n, count in leaves.items()), "none")
