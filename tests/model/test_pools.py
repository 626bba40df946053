"""A pool is a row of a table: everything that reads pools is tried with every row."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import numpy as np
import pytest
from helpers import TINY
from training_helpers import (
    ON_DISK,
    make_classifier,
    make_padded,
    make_texts,
    random_run,
    run_config,
    texts,
)

from gpt2_jax import config
from gpt2_jax.cli.main import main
from gpt2_jax.engine.trunk import run_trunk
from gpt2_jax.errors import UserError
from gpt2_jax.export import EXPORT_FORMATS
from gpt2_jax.export.classifier import export_run
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.model.gpt2 import GPT2, param_shapes
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.tree import Params
from gpt2_jax.training.finetune import finetune
from gpt2_jax.weights.trained import load_model

_ALL = sorted(POOLS)
_TEXTS = ["win a free prize", "see you at lunch tomorrow", "", "call mum " * 12]


def _apply(model: GPT2, params: Params, *inputs: Any, **keywords: Any) -> np.ndarray:
    return np.asarray(model.apply({"params": params}, *inputs, **keywords))


def test_the_table_has_a_row_for_each_name():
    assert set(POOLS) == set(config.POOLS)
    for pool in POOLS.values():
        assert pool.token or pool.mean


@pytest.mark.slow
@pytest.mark.parametrize("pool", _ALL)
def test_what_the_head_reads_is_what_the_row_says(pool):
    """Against the final states of every token, put together here in numpy."""
    model, params = make_classifier(pool=pool)
    padded, row = make_padded(9), POOLS[pool]
    whole = GPT2(dataclasses.replace(model.config, num_classes=None))
    body = {name: leaf for name, leaf in params.items() if name != "out_head"}
    states = np.asarray(
        whole.apply(
            {"params": body},
            whole.apply({"params": body}, padded.tokens, None, 0, method=GPT2.trunk),
            None,
            0,
            method=GPT2.pooled,
        )
    )  # [B, T, D]
    parts = []
    if row.token:
        last = padded.tokens.shape[1] - 1
        place = {"first": 0 * padded.lengths, "last_real": padded.lengths - 1}
        chosen = place.get(row.token, np.full_like(padded.lengths, last))
        parts.append(states[np.arange(9), chosen])
    if row.mean:
        ends = zip(states, padded.lengths, strict=True)
        parts.append(np.stack([x[:n].mean(axis=0) for x, n in ends]))
    read = np.concatenate(parts, axis=-1)
    assert read.shape == (9, row.width * TINY.embed_dim)
    head = params["out_head"]
    expected = read @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    got = _apply(model, params, padded.tokens, padded.lengths)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pool", _ALL)
def test_padding_changes_no_logit_unless_the_row_says_so(pool):
    model, params = make_classifier(pool=pool)
    padded = make_padded(6)
    wider = np.pad(padded.tokens, ((0, 0), (0, 5)), constant_values=3)
    narrow, wide = (
        _apply(model, params, tokens, padded.lengths)
        for tokens in (padded.tokens, wider)
    )
    assert np.allclose(narrow, wide, atol=1e-5) != POOLS[pool].reads_padding


@pytest.mark.parametrize("pool", _ALL)
@pytest.mark.parametrize("depth", [2, TINY.num_layers + 1])
def test_a_trunk_that_was_run_before_gives_the_logits_of_the_whole_model(pool, depth):
    model, params = make_classifier(pool=pool)
    padded, ragged = make_padded(7), make_texts(7, pool=pool)
    expected = _apply(model, params, padded.tokens, padded.lengths)
    features = run_trunk(model.config, params, ragged, depth)
    batch = features.batches(np.arange(7), features.widths[-1])
    got = _apply(
        model, params, batch["features"], batch["lengths"], depth, method=GPT2.top
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("pool", _ALL)
def test_a_classifier_answers_and_explains_with_every_pool(pool, tmp_path):
    classifier = Classifier.load(random_run(tmp_path / "run", pool=pool))
    rows = classifier.predict_proba(_TEXTS)
    alone = np.concatenate([classifier.predict_proba([text]) for text in _TEXTS])
    np.testing.assert_allclose(rows, alone, atol=1e-5)
    assert len(classifier.explain(_TEXTS[:1])[0]) == 4
    found = classifier.attributions(_TEXTS[:2])
    for attribution in found:
        total = attribution.tokens.sum()
        assert total == pytest.approx(attribution.difference, rel=0.02, abs=0.02)


@pytest.mark.parametrize("pool", _ALL)
def test_the_head_makes_its_logits_of_the_embeddings(pool, tmp_path, monkeypatch):
    run = random_run(tmp_path / "run", pool=pool)
    classifier = Classifier.load(run)
    texts = [*_TEXTS, "", "over-long " * 40, _TEXTS[0]]
    found = classifier.embed(texts)
    assert found.shape == (len(texts), POOLS[pool].width * ON_DISK.embed_dim)
    assert found.dtype == np.float32
    head = load_model(run).params["out_head"]
    logits = found @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(logits, classifier.logits(texts), rtol=1e-4, atol=1e-4)
    assert classifier.embed([]).shape == (0, found.shape[1])
    monkeypatch.setattr("gpt2_jax.inference.scorer.SLAB_TOKENS", 30)  # many slabs
    np.testing.assert_allclose(classifier.embed(iter(texts)), found, atol=1e-5)


@pytest.mark.parametrize("pool", _ALL)
def test_the_head_is_as_wide_as_the_row_says(pool):
    shapes = param_shapes(dataclasses.replace(ON_DISK, num_classes=3, pool=pool))
    expected = (POOLS[pool].width * ON_DISK.embed_dim, 3)
    assert shapes["out_head"]["kernel"].shape == expected


@pytest.mark.parametrize("pool", _ALL)
@pytest.mark.parametrize("to", EXPORT_FORMATS)
def test_a_format_writes_a_pool_or_refuses_it_by_name(pool, to, tmp_path):
    run = random_run(tmp_path / "run", pool=pool)
    destination = tmp_path / ("x.pth" if to == "llms-from-scratch" else "x")
    expresses = {"hf": ("last_real",), "llms-from-scratch": ("last",)}
    if pool in expresses.get(to, _ALL):
        if to == "stablehlo" and pool != "last_mean":
            return  # tests/export/test_classifier.py
        if to == "onnx":
            return  # tests/export/test_onnx.py
        assert export_run(run, destination, to)
        return
    with pytest.raises(UserError, match=f"cannot express the pool {pool}: "):
        export_run(run, destination, to)
    assert not destination.exists()


@pytest.mark.slow
@pytest.mark.parametrize("pool", _ALL)
def test_a_run_trains_is_saved_and_predicts_with_every_pool(
    pool, tmp_path_factory, tmp_path, capsys
):
    changed = dataclasses.replace(run_config(tmp_path_factory), pool=pool)
    results = finetune(changed, tmp_path / "run")
    assert results.accuracy["test"] >= 0
    file = str(texts(tmp_path_factory))
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert main(["predict", str(tmp_path / "run"), "--file", file]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["label"] in ("ham", "spam")
    assert jax.tree.leaves(results.to_json())
