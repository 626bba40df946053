"""The frozen trunk, run once per distinct text, several texts in a row."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from helpers import TINY, random_params
from training_helpers import (
    compilations,
    make_classifier,
    make_padded,
    make_texts,
)

from gpt2_jax.engine.forward import gather
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.resident import ResidentSteps
from gpt2_jax.engine.texts import lay_out
from gpt2_jax.engine.trunk import run_trunk
from gpt2_jax.model.gpt2 import GPT2, to_classifier
from gpt2_jax.model.pools import POOLS

_POOLED = TINY.num_layers + 1


def _outputs(model: GPT2, params, depth: int, **keywords) -> np.ndarray:
    """Return what the whole trunk makes of padded texts: [N, T, D]."""
    examples = make_padded(**keywords)
    out = model.apply(
        {"params": params},
        examples.tokens,
        examples.lengths,
        depth,
        method=GPT2.trunk,
    )
    return np.asarray(out)


@pytest.mark.parametrize("num", [1, 33])
@pytest.mark.parametrize("causal", [True, False])
def test_each_text_has_its_own_trunk_output_at_every_real_position(num, causal):
    model, params = make_classifier(causal=causal)
    texts = make_texts(num)
    features = run_trunk(model.config, params, texts, 2)
    expected = _outputs(model, params, 2, num=num)
    assert features.values.shape == (texts.lengths.sum(), TINY.embed_dim)
    for row, length in enumerate(texts.lengths):
        np.testing.assert_allclose(
            features.tokens_of(row), expected[row, :length], atol=2e-5
        )
    for name in ("labels", "lengths", "loss_weights"):
        np.testing.assert_array_equal(getattr(features, name), getattr(texts, name))


def test_the_pads_that_the_pool_last_reads_are_computed_too():
    model, params = make_classifier(pool="last")
    features = run_trunk(model.config, params, make_texts(3, pool="last"), 2)
    expected = _outputs(model, params, 2, num=3)
    np.testing.assert_allclose(
        features.values.reshape(expected.shape)[features.starts // 16],
        expected,
        atol=2e-5,
    )


@pytest.mark.parametrize("pool", POOLS)
def test_where_only_the_head_trains_one_vector_stays_of_each_text(pool):
    model, params = make_classifier(pool=pool)
    texts = make_texts(9, pool=pool)
    features = run_trunk(model.config, params, texts, _POOLED)
    expected = _outputs(model, params, _POOLED, num=9)[:, 0]
    assert features.values.shape == (9, POOLS[pool].width * TINY.embed_dim)
    np.testing.assert_allclose(features.values[features.starts], expected, atol=2e-5)


@pytest.mark.parametrize("depth", [2, _POOLED])
def test_equal_texts_are_run_once(depth):
    model, params = make_classifier()
    ids = make_padded(4).ids()
    few, many = (
        run_trunk(model.config, params, lay_out(some, limit=16), depth)
        for some in (ids, ids * 2)
    )
    assert len(few) == 4 and len(many) == 8
    np.testing.assert_array_equal(many.values, few.values)
    np.testing.assert_array_equal(many.starts, np.tile(few.starts, 2))


def test_features_are_kept_in_the_compute_dtype():
    model, params = make_classifier(dtype="bfloat16")
    features = run_trunk(model.config, params, make_texts(2), 1)
    assert features.values.dtype.name == "bfloat16"


@pytest.mark.parametrize("depth", [1, _POOLED])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_cpu_reads_the_features_where_they_lie(depth, dtype):
    model, params = make_classifier(dtype=dtype)
    features = run_trunk(model.config, params, make_texts(7), depth)
    steps = jit_steps(model, {}, features, depth=depth)
    assert isinstance(steps, ResidentSteps)
    held = steps.data["values"]
    assert isinstance(features.values, np.ndarray)
    assert held.unsafe_buffer_pointer() == features.values.ctypes.data


def test_a_trunk_over_several_devices_is_that_of_one():
    model, params = make_classifier()
    texts = make_texts(300)
    one = run_trunk(model.config, params, texts, 2)
    some = run_trunk(model.config, params, texts, 2, devices=jax.local_devices()[:3])
    np.testing.assert_allclose(some.values, one.values, atol=1e-6)
    np.testing.assert_array_equal(some.starts, one.starts)


@pytest.mark.parametrize("num_layers", [4, 48])
def test_a_trunk_of_any_depth_compiles_one_block(num_layers):
    config = dataclasses.replace(TINY, num_layers=num_layers, num_heads=3)
    model, params = to_classifier(
        config, random_params(config), num_classes=2, key=jax.random.key(0)
    )
    with compilations() as compiled:
        run_trunk(model.config, params, make_texts(500), num_layers - 1)
    assert (compiled["embed"], compiled["block"]) == (1, 1)


def test_texts_of_a_width_are_the_rows_of_a_batch():
    texts = make_texts(9)
    assert texts.widths == (16,)
    wide = dataclasses.replace(texts, widths=(4, 8, 16))
    for rows in np.split(np.arange(9), 3):
        longest = texts.lengths[rows].max()
        assert wide.width(rows) == min(w for w in (4, 8, 16) if w >= longest)


def test_only_widths_that_pay_for_their_compilation_are_kept():
    lengths = np.asarray([3] * 20 + [7] + [16], np.int32)
    texts = dataclasses.replace(make_texts(22), lengths=lengths, widths=(4, 8, 16))
    assert texts.narrow(np.arange(22)[:, None]).widths == (4, 16)


def test_batches_read_by_the_host_are_those_that_a_device_gathers():
    texts = make_texts(9)
    rows = np.asarray([[4, 0, 4], [8, 1, 2]])
    batches = texts.batches(rows, 16)
    for step, some in enumerate(rows):
        expected = gather(texts.data, some, 16)
        assert set(batches) == set(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(batches[name][step], values, err_msg=name)
