"""Where trunk outputs are kept, and that it changes nothing."""

from __future__ import annotations

import dataclasses
import logging
import shutil

import jax
import numpy as np
import pytest
from helpers import TINY
from training_helpers import (
    NUM_LAYERS,
    finished_run,
    losses,
    make_classifier,
    make_texts,
    run_config,
)

from gpt2_jax.config import TrainConfig
from gpt2_jax.engine.texts import Texts
from gpt2_jax.engine.trunk_cache import reuse_trunk
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.training.finetune import finetune


def _reuse(folder, depth: int = 1, **fields):
    config = TrainConfig(**fields)
    model, params = make_classifier(dropout_rate=config.dropout_rate)
    return reuse_trunk(model, params, make_texts(12), config, depth, folder)


def _kept(texts: Texts | None) -> Texts:
    assert texts is not None
    return texts


_NEEDED = int(make_texts(12).lengths.sum()) * TINY.embed_dim * 4


@pytest.mark.parametrize("fields", [{"reuse_trunk": False}, {"dropout_rate": 0.1}])
def test_a_trunk_that_may_change_is_not_reused(fields, tmp_path):
    assert _reuse(tmp_path, **fields) is None


def test_nothing_is_reused_where_no_block_is_frozen(tmp_path):
    assert _reuse(tmp_path, depth=0) is None


def test_beyond_the_limit_in_memory_the_output_is_in_a_file(tmp_path, caplog):
    caplog.set_level(logging.INFO, "gpt2_jax")
    logging.getLogger("gpt2_jax").propagate = True
    memory = _reuse(tmp_path, reuse_max_bytes=_NEEDED)
    assert memory is not None and not isinstance(memory.values, np.memmap)
    assert "kept in memory" in caplog.text
    disk = _reuse(tmp_path, reuse_max_bytes=_NEEDED - 1)
    assert disk is not None and isinstance(disk.values, np.memmap)
    assert f"kept in a file in {tmp_path}" in caplog.text
    np.testing.assert_array_equal(disk.values, memory.values)
    assert list(tmp_path.iterdir()) == []  # nothing to delete, whatever happens


def test_beyond_both_limits_or_on_a_full_disk_it_is_recomputed(tmp_path, monkeypatch):
    limits = {"reuse_max_bytes": _NEEDED - 1, "reuse_max_disk_bytes": _NEEDED}
    assert _reuse(tmp_path, **limits) is not None
    assert _reuse(tmp_path, **{**limits, "reuse_max_disk_bytes": _NEEDED - 1}) is None
    usage = shutil.disk_usage(tmp_path)._replace(free=_NEEDED - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert _reuse(tmp_path, **limits) is None


@pytest.mark.parametrize("depth", [1, NUM_LAYERS + 1])
def test_a_trunk_that_is_cached_is_read_and_bit_equal(depth, tmp_path, monkeypatch):
    model, params = make_classifier()
    cache, texts = tmp_path / "trunks", make_texts(12)

    def reuse(texts: Texts, params=params, **changes):
        changed = GPT2(dataclasses.replace(model.config, **changes))
        config = TrainConfig()
        return _kept(
            reuse_trunk(changed, params, texts, config, depth, tmp_path, cache=cache)
        )

    first = reuse(texts)
    other = jax.tree.map(lambda leaf: 2 * leaf, params)
    fewer = texts.select(np.arange(6))
    for differs in (
        lambda: reuse(texts, other),
        lambda: reuse(texts, causal=False),
        lambda: reuse(fewer),
    ):
        assert not np.array_equal(differs().values, first.values)
    assert len(list(cache.iterdir())) == 4
    monkeypatch.setattr("gpt2_jax.engine.trunk_cache.run_trunk", None)  # must not run
    relabeled = dataclasses.replace(texts, labels=1 - texts.labels)
    again = reuse(relabeled)
    for name in ("values", "starts", "lengths", "widths"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    np.testing.assert_array_equal(again.labels, relabeled.labels)


@pytest.mark.fault(8, 9)
def test_a_damaged_cache_of_the_trunk_is_computed_again(tmp_path, caplog):
    model, params = make_classifier()
    cache, texts = tmp_path / "trunks", make_texts(4)

    def values() -> np.ndarray:
        config = TrainConfig()
        kept = reuse_trunk(model, params, texts, config, 1, tmp_path, cache=cache)
        return np.asarray(_kept(kept).values)

    expected = values()
    (file,) = cache.iterdir()
    whole, random = file.read_bytes(), np.random.default_rng(5)
    flips = [bytearray(whole) for _ in range(60)]
    for content in flips:
        content[random.integers(len(whole))] ^= 1 << random.integers(8)
    for content in (b"", whole[:-9], whole[: len(whole) // 2], *flips):
        file.write_bytes(content)
        np.testing.assert_array_equal(values(), expected)
    assert f"{file}: damaged (" in caplog.text


@pytest.mark.parametrize("dtype", ["bfloat16"])
def test_a_cached_trunk_keeps_its_dtype(dtype, tmp_path):
    model, params = make_classifier(dtype=dtype)
    first, again = (
        _kept(
            reuse_trunk(
                model, params, make_texts(4), TrainConfig(), 1, tmp_path, cache=tmp_path
            )
        )
        for _ in range(2)
    )
    assert again.values.dtype == first.values.dtype == dtype
    np.testing.assert_array_equal(again.values, first.values)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_a_run_from_a_file_is_the_run_from_memory(parallel, tmp_path_factory, tmp_path):
    devices = 2 if parallel == "pmap" else None
    config = run_config(
        tmp_path_factory, reuse_max_bytes=1, parallel=parallel, devices=devices
    )
    finetune(config, tmp_path / "run")
    expected = losses(finished_run(tmp_path_factory))
    np.testing.assert_allclose(losses(tmp_path / "run"), expected, rtol=1e-4)
