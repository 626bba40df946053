"""Texts over accelerators: tokens go there, what is asked comes back, nothing else.

Shapes: `N` texts, `E` numbers of each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import numpy as np
from jax import Array
from jaxtyping import Float

from gpt2_jax.config import GPT2Config
from gpt2_jax.engine.forward import gather, predict_rows
from gpt2_jax.engine.packing import DEVICE_CALL_TOKENS
from gpt2_jax.engine.texts import Data, Texts
from gpt2_jax.engine.widths import by_length, filled
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params

Placed = Sequence[tuple[Any, Params]]  # devices, and the params on each


def place_params(params: Params) -> Placed:
    """Return the accelerators of this process, each with the params; none on a CPU.

    There the trunk is run on packed texts, whose outputs cost nothing to keep.
    """
    if jax.default_backend() == "cpu":
        return ()
    return [(device, jax.device_put(params, device)) for device in jax.local_devices()]


def run_spread(
    program: Callable[..., Array], placed: Placed, texts: Sequence[Texts]
) -> list[Float[np.ndarray, "N E"]]:
    """Run a program of this module on as many `texts` as there are devices, at once."""
    pending = [
        _start(program, device, params, some)
        for (device, params), some in zip(placed, texts, strict=False)
    ]
    found = []
    for parts in pending:
        order = np.concatenate([rows for rows, _ in parts])
        values = [np.asarray(out)[: len(rows)] for rows, out in parts]
        found.append(np.concatenate(values)[np.argsort(order)])
    return found


def _start(
    program: Callable[..., Array], device: Any, params: Params, texts: Texts
) -> list[tuple[np.ndarray, Array]]:
    data = jax.device_put(_rounded_up(texts), device)
    return [
        (rows, program(params, data, filled(rows, size).astype(np.int32), width))
        for rows, width, size in by_length(
            texts.lengths, texts.widths, DEVICE_CALL_TOKENS
        )
    ]


def _rounded_up(texts: Texts) -> Data:
    """Return what a program reads of `texts`, in few sizes: powers of two."""
    data = {name: texts.data[name] for name in ("values", "starts", "lengths")}
    return {
        name: np.pad(x, (0, (1 << (len(x) - 1).bit_length()) - len(x)))
        for name, x in data.items()
    }


@functools.cache  # compiled programs, shared by all texts; they hold no weights
def logits_program(config: GPT2Config) -> Callable[..., Array]:
    return jax.jit(
        functools.partial(predict_rows, model=GPT2(config)), static_argnums=3
    )


@functools.cache
def embeddings_program(config: GPT2Config) -> Callable[..., Array]:
    def embed(params: Params, data: Data, rows: Array, width: int) -> Array:
        batch = gather(data, rows, width)
        depth = config.num_layers + 1  # the pooling too
        pooled = GPT2(config).apply(
            {"params": params},
            *(batch["tokens"], batch["lengths"], depth),
            method=GPT2.trunk,
        )
        return cast(Array, pooled)[:, 0]

    return jax.jit(embed, static_argnums=3)
