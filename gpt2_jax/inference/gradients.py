"""Integrated gradients: how much each token adds to the log-probability of a label.

Source: Sundararajan, Taly, Yan 2017, arXiv:1703.01365, equation 1. The path is a
straight line from the embedding of `<|endoftext|>`, the padding, to that of each token;
positions stay as they are. So the baseline is a text of the same length that says
nothing, and the attributions sum to the log-probability of the label less that of the
baseline ("completeness").

Shapes: `B` points on paths, `T` tokens, `D` embed_dim, `P` steps of a path.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpt2_jax.config import GPT2Config
from gpt2_jax.engine.packing import call_tokens
from gpt2_jax.engine.widths import by_length, widths_up_to
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params
from gpt2_jax.tokenizer import END_OF_TEXT

STEPS = 64  # points on a path: trained models turn sharply near the baseline


@dataclasses.dataclass(frozen=True)
class Attribution:
    """What the tokens of one text add to the log-probability of `label`."""

    label: int
    tokens: np.ndarray  # float64 [T]
    difference: float  # of the log-probability to the baseline's: what they sum to


def integrated_gradients(
    config: GPT2Config,
    params: Params,
    encoded: Sequence[list[int]],
    labels: np.ndarray,
    *,
    max_length: int,
    steps: int | None = None,
    end_id: int = END_OF_TEXT,
) -> list[Attribution]:
    """Return the attributions of texts of 1 to `max_length` tokens, for `labels` [N].

    The integral is Gauss and Legendre's sum over `steps` points. Points of all texts
    share batches of few shapes.
    """
    steps = steps or STEPS
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    # Both ends come too, with no weight, for the difference.
    alphas = np.asarray([*(nodes + 1) / 2, 0.0, 1.0], np.float32)
    shares = np.asarray([*weights / 2, 0.0, 0.0])
    lengths = np.asarray([len(ids) for ids in encoded], np.int32)
    text = np.repeat(np.arange(len(encoded)), len(alphas))  # of each point
    point = np.tile(np.arange(len(alphas)), len(encoded))
    totals = [np.zeros(length) for length in lengths]
    ends = np.zeros((len(encoded), len(alphas)))
    run = _program(config, end_id)
    widths = widths_up_to(max_length)  # no more: the pool `last` reads the last one
    tokens = call_tokens(jax.default_backend())
    for rows, width, size in by_length(lengths[text], widths, tokens):
        filled = np.pad(rows, (0, size - len(rows)), mode="edge")
        ids = np.full((size, width), end_id, np.int32)
        for row, index in zip(ids, text[filled], strict=True):
            row[: lengths[index]] = encoded[index]
        chosen = text[filled]
        got, values = run(
            params,
            ids,
            lengths[chosen],
            np.asarray(labels, np.int32)[chosen],
            alphas[point[filled]],
        )
        values, got = np.asarray(values), np.asarray(got, np.float64)
        for i, row in enumerate(rows):
            index, step = text[row], point[row]
            totals[index] += shares[step] * got[i, : lengths[index]]
            ends[index, step] = values[i]
    return [
        Attribution(int(label), total, float(end[-1] - end[-2]))
        for label, total, end in zip(labels, totals, ends, strict=True)
    ]


@functools.cache  # a compiled program; it holds no weights
def _program(config: GPT2Config, end_id: int) -> Callable[..., tuple[Array, Array]]:
    def run(
        params: Params, tokens: Array, lengths: Array, labels: Array, alphas: Array
    ) -> tuple[Array, Array]:
        wte, wpe = params["wte"]["embedding"], params["wpe"]["embedding"]
        baseline = wte[end_id][None, None]
        change = wte[tokens] - baseline  # [B, T, D]

        def log_probs(x: Array) -> tuple[Array, Array]:
            hidden = (x + wpe[None, : x.shape[1]]).astype(config.dtype)
            logits = GPT2(config).apply(
                {"params": params}, hidden, lengths, 0, method=GPT2.top
            )
            rows = jax.nn.log_softmax(jnp.asarray(logits))  # [B, C]
            values = jnp.take_along_axis(rows, labels[:, None], axis=1)[:, 0]
            return values.sum(), values  # texts do not meet: one gradient serves all

        x = baseline + alphas[:, None, None] * change
        gradient, values = jax.grad(log_probs, has_aux=True)(x)
        return (gradient * change).sum(-1), values  # [B, T], [B]

    return jax.jit(run)
