"""Outputs of the trunk that stay on the device, and what crosses to the host."""

from __future__ import annotations

import types

import jax
import numpy as np
import pytest
from helpers import TINY
from training_helpers import make_classifier, make_texts

from gpt2_jax.config import TrainConfig
from gpt2_jax.engine import outputs, trunk_cache
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.outputs import keeps_outputs
from gpt2_jax.engine.resident import ResidentSteps
from gpt2_jax.engine.trunk import run_trunk
from gpt2_jax.model.pools import POOLS

_POOLED = TINY.num_layers + 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("pool", ["last_real", "last"])
def test_outputs_on_the_device_are_those_of_the_host(pool, dtype):
    model, params = make_classifier(pool=pool, dtype=dtype)
    texts = make_texts(33, pool=pool)
    host = run_trunk(model.config, params, texts, 2)
    device = run_trunk(model.config, params, texts, 2, on_device=True)
    assert isinstance(device.values, jax.Array)
    assert device.values.dtype == host.values.dtype
    np.testing.assert_array_equal(device.values, host.values)
    np.testing.assert_array_equal(device.starts, host.starts)
    rows, width = np.arange(5), texts.width(np.arange(5))
    for name, values in device.batches(rows, width).items():
        np.testing.assert_array_equal(values, host.batches(rows, width)[name])


@pytest.mark.parametrize("pool", POOLS)
def test_what_is_pooled_from_them_is_that_of_the_host(pool):
    model, params = make_classifier(pool=pool)
    texts = make_texts(33, pool=pool)
    host, device = (
        run_trunk(model.config, params, texts, _POOLED, on_device=on_device)
        for on_device in (False, True)
    )
    np.testing.assert_allclose(device.values, host.values, atol=1e-6)


def test_a_trunk_that_stays_sends_places_and_brings_nothing_back(monkeypatch):
    model, params = make_classifier()
    texts, sent, brought = make_texts(600), [], []
    scatter = outputs._scatter

    def counted(values, x, places):
        assert isinstance(x, jax.Array)
        sent.append(places.nbytes)
        return scatter(values, x, places)

    asarray = np.asarray

    def counting(value, *arguments, **keywords):
        if isinstance(value, jax.Array):
            brought.append(value.nbytes)
        return asarray(value, *arguments, **keywords)

    monkeypatch.setattr(outputs, "_scatter", counted)
    monkeypatch.setattr(outputs.np, "asarray", counting)
    on_host = run_trunk(model.config, params, texts, 2)
    assert sum(brought) >= on_host.values.nbytes and not sent  # so it is counted
    brought.clear()
    kept = run_trunk(model.config, params, texts, 2, on_device=True)
    steps = jit_steps(model, {}, kept, depth=2)
    assert not brought and isinstance(steps, ResidentSteps)
    # Padding is a part of the calls: ids, places of tokens and of outputs are sent.
    assert sum(sent) <= 3 * 4 * texts.lengths.sum()
    held = steps.data["values"].unsafe_buffer_pointer()
    assert isinstance(kept.values, jax.Array)
    assert held == kept.values.unsafe_buffer_pointer()  # nor does the step copy them


def _device(platform, **stats):
    return types.SimpleNamespace(platform=platform, memory_stats=lambda: stats or None)


def test_an_accelerator_keeps_what_fits_twice_into_what_is_free():
    card = _device("gpu", bytes_limit=100, bytes_in_use=20)
    assert keeps_outputs(card, 40) and not keeps_outputs(card, 41)
    assert keeps_outputs(_device("tpu"), 10**12)  # it does not say
    assert not keeps_outputs(_device("cpu"), 1)
    assert not keeps_outputs(jax.devices()[0], 1)


@pytest.mark.parametrize(
    ("resident", "stays"), [(True, True), (False, False)], ids=["one", "mesh"]
)
def test_they_stay_where_one_accelerator_trains(resident, stays, monkeypatch, tmp_path):
    monkeypatch.setattr(trunk_cache, "keeps_outputs", lambda device, needed: True)
    model, params = make_classifier()
    arguments = (model, params, make_texts(12), TrainConfig(), 2, tmp_path)
    devices = jax.devices()[:1]
    kept = trunk_cache.reuse_trunk(*arguments, devices=devices, resident=resident)
    assert kept and isinstance(kept.values, jax.Array) == stays
    cached = trunk_cache.reuse_trunk(
        *arguments, devices=devices, resident=resident, cache=tmp_path / "cache"
    )
    assert cached and isinstance(cached.values, np.ndarray)
