"""Random weights, by the name of a size."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from helpers import TINY

from gpt2_jax import config
from gpt2_jax.errors import WeightsError
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import flatten
from gpt2_jax.weights import random as module
from gpt2_jax.weights.random import untrained


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    sizes = {**config.PRESETS, "mini": dataclasses.replace(TINY, vocab_size=512)}
    monkeypatch.setattr(module, "PRESETS", sizes)


def test_random_weights_have_the_shapes_and_spread_of_gpt2():
    config, params = untrained("random:mini", 1)
    shapes = jax.tree.map(lambda leaf: leaf.shape, param_shapes(config))
    assert jax.tree.map(np.shape, params) == shapes
    flat = flatten(params)
    assert flat["wte/embedding"].std() == pytest.approx(0.02, rel=0.05)
    narrow = 0.02 / np.sqrt(2 * config.num_layers)
    assert flat["h_0/mlp/c_proj/kernel"].std() == pytest.approx(narrow, rel=0.1)
    assert (flat["ln_f/scale"] == 1).all() and (flat["ln_f/bias"] == 0).all()


def test_the_seed_draws_them():
    first, again, other = (untrained("random:mini", seed)[1] for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(
        first["h_0"]["attn"]["c_attn"]["kernel"],
        other["h_0"]["attn"]["c_attn"]["kernel"],
    )


def test_an_unknown_size_is_named():
    with pytest.raises(WeightsError, match="random:big: no such size; known: random:m"):
        untrained("random:big", 0)
