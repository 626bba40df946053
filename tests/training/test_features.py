"""The frozen trunk, run once per text."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from helpers import TINY
from training_helpers import make_classifier, make_examples

from gpt2_jax.config import TrainConfig
from gpt2_jax.model import GPT2
from gpt2_jax.training.features import compute_features, feature_batch, reuse_trunk

_SPLIT = 2


@pytest.mark.parametrize("num", [1, 33])
def test_each_text_has_its_own_trunk_output_at_every_real_position(num):
    model, params = make_classifier()
    examples = make_examples(num)
    features = compute_features(model, params, examples, _SPLIT, trim=True)
    expected = model.apply(
        {"params": params},
        examples.tokens,
        examples.lengths,
        _SPLIT,
        method=GPT2.trunk,
    )
    assert features.hidden.shape == (num, 16, TINY.embed_dim)
    for row, length in enumerate(examples.lengths):
        np.testing.assert_allclose(
            features.hidden[row, :length], expected[row, :length], atol=2e-5
        )
    np.testing.assert_array_equal(features.labels, examples.labels)
    np.testing.assert_array_equal(features.lengths, examples.lengths)


def test_the_pads_that_the_pool_last_reads_are_computed_too():
    model, params = make_classifier(pool="last")
    examples = dataclasses.replace(make_examples(2), lengths=np.array([3, 5], np.int32))
    features = compute_features(model, params, examples, _SPLIT, trim=False)
    assert np.all(np.abs(features.hidden).sum(-1) > 0)


def test_features_are_kept_in_the_compute_dtype():
    model, params = make_classifier(dtype="bfloat16")
    features = compute_features(model, params, make_examples(2), 1, trim=True)
    assert features.hidden.dtype.name == "bfloat16"


def _reuse(config: TrainConfig, split: int = 1):
    model, params = make_classifier(dropout_rate=config.dropout_rate)
    examples = {"train": make_examples(8), "test": make_examples(4)}
    return reuse_trunk(model, params, examples, config, split, trim=True)


def test_every_part_is_run():
    features = _reuse(TrainConfig())
    assert features is not None
    assert {part: len(f) for part, f in features.items()} == {"train": 8, "test": 4}


@pytest.mark.parametrize(
    "config", [TrainConfig(reuse_trunk=False), TrainConfig(dropout_rate=0.1)]
)
def test_a_trunk_that_may_change_is_not_reused(config):
    assert _reuse(config) is None


def test_nothing_is_reused_where_no_block_is_frozen():
    assert _reuse(TrainConfig(), split=0) is None


def test_the_limit_on_bytes_is_the_size_of_all_features():
    needed = 12 * 16 * TINY.embed_dim * 4
    assert _reuse(TrainConfig(reuse_max_bytes=needed)) is not None
    assert _reuse(TrainConfig(reuse_max_bytes=needed - 1)) is None


def test_a_batch_of_features_is_filled_up_with_rows_of_weight_zero():
    model, params = make_classifier()
    features = compute_features(model, params, make_examples(8), 1, trim=True)
    batch = feature_batch(features, np.array([6, 1, 3]), 4)
    np.testing.assert_array_equal(batch["weights"], [1, 1, 1, 0])
    np.testing.assert_array_equal(batch["features"][:3], features.hidden[[6, 1, 3]])
    assert batch["features"].shape == (4, 16, TINY.embed_dim)


def test_the_trunk_of_a_split_and_the_top_are_the_whole_model():
    model, params = make_classifier()
    examples = make_examples(4)
    whole = model.apply({"params": params}, examples.tokens, examples.lengths)
    features = compute_features(model, params, examples, 3, trim=True)
    logits = model.apply(
        {"params": jax.tree.map(np.asarray, params)},
        features.hidden,
        features.lengths,
        3,
        method=GPT2.top,
    )
    np.testing.assert_allclose(logits, whole, atol=2e-5)
