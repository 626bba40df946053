"""Many blocks as one scan over their stacked params, compiled once for all of them.

Shapes: `B` batch, `T` tokens, `D` embed_dim, `C` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Key

from gpt2_jax.config import GPT2Config
from gpt2_jax.model.attention import attention_mask
from gpt2_jax.model.blocks import Block
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params

# More blocks than these are compiled once for all. One by one they take long to
# compile, and XLA on a CPU adds up the residual stream anew wherever a block reads it:
# eleven of them take half as long again in training (experiments/benchmarks/scan.py).
SCAN_ABOVE = 8


def is_scanned(num_layers: int, depth: int) -> bool:
    """Return whether the blocks above the trunk, without the last, run as a scan."""
    return num_layers - 1 - depth > SCAN_ABOVE


def apply_scanned(
    model: GPT2,
    params: Params,
    batch: dict[str, Any],
    *,
    depth: int = 0,
    key: Key[Array, ""] | None = None,
    gather: Callable[[Params], Params] = lambda params: params,
    rematerialize: bool = False,
) -> Float[Array, "B C"]:
    """Return class logits, as `steps.apply_model`.

    The last block, which may pool, stays out of the scan.

    Args:
        gather: what a block's params go through where it runs.
        rematerialize: keep only the output of each block for its gradients, and compute
            the rest again.
    """
    config, last = model.config, model.config.num_layers - 1
    below = [f"h_{i}" for i in range(depth, last)]
    ends = gather({name: leaf for name, leaf in params.items() if name not in below})
    lengths = batch["lengths"]

    def run(method: Any, x: Array, depth: int) -> Array:
        y = model.apply(
            {"params": ends}, x, lengths, depth, method=method, **_dropout(key)
        )
        return cast(Array, y)

    ready = "features" in batch
    x = batch["features"] if ready else run(GPT2.trunk, batch["tokens"], 0)  # [B, T, D]
    mask = attention_mask(config, x.shape[1], lengths, positions=None)
    if below:
        blocks = [params[name] for name in below]
        how: dict[str, Any] = {"gather": gather, "rematerialize": rematerialize}
        x = scan_blocks(config, blocks, x, mask, first=depth, key=key, **how)
    return run(GPT2.top, x, max(depth, last))


def scan_blocks(
    config: GPT2Config,
    blocks: Sequence[Params],
    x: Float[Array, "B T D"],
    mask: Bool[Array, "#B 1 T T"],
    *,
    first: int = 0,
    key: Key[Array, ""] | None = None,
    gather: Callable[[Params], Params] = lambda params: params,
    rematerialize: bool = False,
) -> Float[Array, "B T D"]:
    """Run `blocks`, one after the other, of which the first is that of this index."""

    def block(
        x: Float[Array, "B T D"], layer: tuple[Params, Array]
    ) -> tuple[Float[Array, "B T D"], None]:
        kernels, index = layer
        dropout = _dropout(None if key is None else jax.random.fold_in(key, index))
        y = Block(config).apply({"params": gather(kernels)}, x, mask, **dropout)
        return cast(Array, y), None

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
    if rematerialize:  # inside a loop nothing is found twice, to be merged again
        block = jax.checkpoint(block, prevent_cse=False)
    return jax.lax.scan(block, x, (stacked, first + jnp.arange(len(blocks))))[0]


def _dropout(key: Key[Array, ""] | None) -> dict[str, Any]:
    return {
        "deterministic": key is None,
        "rngs": None if key is None else {"dropout": key},
    }
