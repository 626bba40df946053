"""The low-rank adapters of LLMs-from-scratch, appendix E, added into their kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights.detect import StateDict

ALPHA = 16.0  # that of the book; no file says it

_INNER, _A, _B = ".linear.", ".lora.A", ".lora.B"


def merge(state: StateDict) -> tuple[StateDict, Sequence[str]]:
    """Return the state dict without adapters, and the layers that had one.

    `LinearWithLoRA` adds `alpha (x A B)` to `linear(x)`: A is [in, R], B [R, out] and
    the kernel [out, in].

    Raises:
        WeightsError: the parts of an adapter do not fit.
    """
    layers = [name.removesuffix(_A) for name in state if name.endswith(_A)]
    if not layers:
        return state, ()
    merged = {
        name.replace(_INNER, ".")
        if any(name.startswith(layer + _INNER) for layer in layers)
        else name: value
        for name, value in state.items()
        if not name.endswith((_A, _B))
    }
    for layer in layers:
        try:
            a, b = state[layer + _A], state[layer + _B]
            change = ALPHA * (a.astype(np.float32) @ b.astype(np.float32)).T
            kernel = state[f"{layer}{_INNER}weight"].astype(np.float32)
            if change.shape != kernel.shape:
                raise ValueError(f"{list(kernel.shape)} and {list(change.shape)}")
        except (KeyError, ValueError) as error:
            raise WeightsError(f"{layer}: no adapter of the book ({error})") from error
        merged[f"{layer}.weight"] = kernel + change
    return merged, layers
