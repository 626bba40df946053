"""The frozen trunk, run once per text instead of once per epoch."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from gpt2_jax.config import GPT2Config, TrainConfig
from gpt2_jax.data.batches import Batch, Examples, by_length, fill, make_batch
from gpt2_jax.model import GPT2
from gpt2_jax.tree import Params

log = logging.getLogger(__name__)

TRUNK_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Features:
    """Trunk outputs of all examples, in the place of their tokens."""

    hidden: np.ndarray  # [N, T, D] in the compute dtype; zeros behind each text
    lengths: np.ndarray  # int32 [N]
    labels: np.ndarray  # int32 [N]

    def __len__(self) -> int:
        return len(self.lengths)


def reuse_trunk(
    model: GPT2,
    params: Params,
    examples: dict[str, Examples],
    config: TrainConfig,
    split: int,
    *,
    trim: bool,
) -> dict[str, Features] | None:
    """Run the frozen trunk of `split` blocks once over every part of the data.

    Returns None where its output would change from step to step (dropout), where
    nothing is frozen below, or where it would not fit `config.reuse_max_bytes`.
    """
    num = sum(len(part) for part in examples.values())
    width = examples["train"].tokens.shape[1]
    dtype = jnp.dtype(model.config.dtype)
    needed = num * width * model.config.embed_dim * dtype.itemsize
    if not config.reuse_trunk or config.dropout_rate or not split:
        return None
    if needed > config.reuse_max_bytes:
        log.info(
            "the frozen trunk runs in every epoch: its output for %d texts (%.1f GB) "
            "is over the limit of %.1f GB",
            num,
            needed / 1e9,
            config.reuse_max_bytes / 1e9,
        )
        return None
    log.info(
        "running the %d frozen blocks once over %d texts (%.0f MB)",
        split,
        num,
        needed / 1e6,
    )
    return {
        part: compute_features(model, params, part_examples, split, trim=trim)
        for part, part_examples in examples.items()
    }


def compute_features(
    model: GPT2, params: Params, examples: Examples, split: int, *, trim: bool
) -> Features:
    """Run the trunk of `split` blocks over every example."""
    num, width = examples.tokens.shape
    shape = (num, width, model.config.embed_dim)
    hidden = np.zeros(shape, jnp.dtype(model.config.dtype))
    run = _compiled_trunk(model.config, split)
    params = jax.tree.map(jnp.asarray, params)
    for rows in by_length(examples.lengths, TRUNK_BATCH):
        batch = make_batch(examples, rows, trim=trim, size=TRUNK_BATCH)
        out = np.asarray(run(params, batch["tokens"], batch["lengths"]))  # [B, T, D]
        hidden[rows, : out.shape[1]] = out[: len(rows)]
    return Features(hidden, examples.lengths, examples.labels)


@functools.cache  # compiled programs, shared by the parts; it holds no weights
def _compiled_trunk(config: GPT2Config, split: int) -> Callable[..., jax.Array]:
    model = GPT2(config)

    def trunk(params: Params, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
        hidden = model.apply(
            {"params": params}, tokens, lengths, split, method=GPT2.trunk
        )
        return cast(jax.Array, hidden)

    return jax.jit(trunk)


def feature_batch(
    features: Features, rows: np.ndarray, size: int | None = None
) -> Batch:
    """Gather `rows` into one batch, filled up to `size` rows of weight 0."""
    batch = {
        "features": features.hidden[rows],  # [B, T, D]
        "lengths": features.lengths[rows],
        "labels": features.labels[rows],
        "weights": np.ones(len(rows), np.float32),
    }
    return fill(batch, size) if size else batch
