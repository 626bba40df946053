"""One short text is one call of one program, from tokens to logits."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from helpers import random_params

from gpt2_jax.config import POOLS, GPT2Config
from gpt2_jax.engine import short
from gpt2_jax.inference import scorer
from gpt2_jax.inference.scorer import Scorer
from gpt2_jax.storage.memory import ALIGNMENT, aligned
from gpt2_jax.weights.trained import TrainedModel

SMALL = GPT2Config(  # with the token that texts are padded with
    vocab_size=50257, max_len=160, num_layers=3, embed_dim=8, num_heads=2, num_classes=3
)


def _model(**changes) -> TrainedModel:
    config = dataclasses.replace(SMALL, **changes)
    return TrainedModel(config, random_params(config), ("a", "b", "c"), 150)


def _text(length: int) -> list[int]:
    return np.random.default_rng(length).integers(0, 50, length).tolist()


@pytest.mark.parametrize("length", [1, 16, 17, 128])
@pytest.mark.parametrize("pool", POOLS)
def test_alone_it_has_the_logits_that_it_has_in_company(pool, length):
    scoring = Scorer(_model(pool=pool))
    alone = scoring.logits([_text(length)])
    together = scoring.logits([_text(length), _text(30), _text(145)])
    assert np.isfinite(alone).all()  # two of nan would count as equal
    np.testing.assert_allclose(alone[0], together[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{"causal": False}, {"lora_rank": 2}])
def test_every_kind_of_model_has_the_same(changes):
    scoring = Scorer(_model(**changes))
    alone = scoring.logits([_text(20)])
    together = scoring.logits([_text(20), _text(30)])
    assert np.isfinite(alone).all()  # two of nan would count as equal
    np.testing.assert_allclose(alone[0], together[0], rtol=1e-4, atol=1e-5)


def test_only_a_short_text_of_a_model_of_few_blocks_is_one_call(monkeypatch):
    calls = []

    def program(config):
        def call(*arguments):
            calls.append(arguments[1].shape)
            return short.short_text_program(config)(*arguments)

        return call

    monkeypatch.setattr(scorer, "short_text_program", program)
    monkeypatch.setattr(scorer, "run_trunk", lambda *_, **__: pytest.fail("blocks"))
    scoring = Scorer(_model())
    assert scoring.logits([_text(20)]).shape == (1, 3)
    assert calls == [(1, 32)]  # the width that batches have too
    for many in ([_text(129)], [_text(20), _text(21)]):
        with pytest.raises(pytest.fail.Exception, match="blocks"):
            scoring.logits(many)
    with pytest.raises(pytest.fail.Exception, match="blocks"):
        Scorer(_model(num_layers=short.FEW_BLOCKS + 1)).logits([_text(20)])


def test_weights_that_were_read_are_not_copied():
    model = _model()
    read = jax.tree.map(lambda x: aligned(x.shape, x.dtype), model.params)
    placed = Scorer(dataclasses.replace(model, params=read)).params
    for ours, theirs in zip(
        jax.tree.leaves(placed), jax.tree.leaves(read), strict=True
    ):
        assert theirs.ctypes.data % ALIGNMENT == 0
        assert ours.unsafe_buffer_pointer() == theirs.ctypes.data
