"""The stream of the blocks in bfloat16 and in float32."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from helpers import TINY, random_params

from experiments.benchmarks.stream import FloatStream, logits_of
from gpt2_jax.model.gpt2 import GPT2

_CLASSIFIER = dataclasses.replace(TINY, num_classes=9)
_HALF = dataclasses.replace(_CLASSIFIER, dtype="bfloat16")
_TOKENS = np.arange(24).reshape(3, 8)


def test_a_float32_stream_carries_float32_and_computes_in_bfloat16():
    params = random_params(_HALF)
    for kind, dtype in (GPT2, "bfloat16"), (FloatStream, "float32"):
        hidden: Any = kind(_HALF).apply(
            {"params": params}, _TOKENS, None, 2, method="trunk"
        )
        assert hidden.dtype == dtype
    kept, same = (
        logits_of(kind(_CLASSIFIER), params, _TOKENS) for kind in (GPT2, FloatStream)
    )
    np.testing.assert_array_equal(kept, same)


def test_its_logits_are_nearer_to_those_of_float32():
    params = random_params(_HALF)
    exact = logits_of(GPT2(_CLASSIFIER), params, _TOKENS)
    rounded, kept = (
        np.abs(logits_of(kind(_HALF), params, _TOKENS) - exact).mean()
        for kind in (GPT2, FloatStream)
    )
    assert 0 < kept < rounded
