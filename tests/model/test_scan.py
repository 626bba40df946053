"""Many blocks as one scan: the numbers of blocks that are compiled one by one."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from helpers import TINY
from training_helpers import start_with_sgd, uneven_texts

from gpt2_jax.config import PRESETS, TrainConfig
from gpt2_jax.engine.jit import jit_programs, jit_steps
from gpt2_jax.engine.mesh import make_mesh
from gpt2_jax.engine.trunk import run_trunk
from gpt2_jax.model import scan
from gpt2_jax.model.tree import flatten
from gpt2_jax.plan import abstract

_ROWS = np.arange(24).reshape(3, 8)


def _run(scope: str, pool: str, depth: int):
    """Return host params after a step on each of `_ROWS`, losses, and logits."""
    model, _, labels, state = start_with_sgd(scope, pool, depth=depth)
    texts = uneven_texts(_ROWS.size, pool)
    if depth:
        texts = run_trunk(model.config, start_with_sgd(scope, pool)[1], texts, depth)
    steps = jit_steps(model, labels, texts, depth=depth)
    state, losses = steps.train(steps.place(state), _ROWS, jax.random.key(5), 16)
    logits = np.asarray(steps.predict(state.params, np.arange(8), 16))
    return flatten(steps.unplace(state.params)), losses, logits


@pytest.mark.slow
@pytest.mark.parametrize(
    "scope, pool, depth",
    [
        ("all", "last_real", 0),
        ("lora", "mean", 0),
        ("last_two_blocks", "last_real", 1),
    ],
)
def test_blocks_in_a_scan_train_as_one_by_one(scope, pool, depth, monkeypatch):
    params, losses, logits = _run(scope, pool, depth)
    monkeypatch.setattr(scan, "SCAN_ABOVE", 0)
    scanned, scanned_losses, scanned_logits = _run(scope, pool, depth)
    np.testing.assert_allclose(scanned_losses, losses, rtol=1e-5)
    np.testing.assert_allclose(scanned_logits, logits, rtol=1e-5, atol=1e-6)
    for path, leaf in params.items():
        np.testing.assert_allclose(
            scanned[path], leaf, rtol=1e-5, atol=1e-6, err_msg=path
        )


def _matmuls(num_layers: int) -> int:
    config = dataclasses.replace(TINY, num_layers=num_layers, num_classes=2)
    run = abstract.abstract_run(config, TrainConfig(trainable=("all",)))
    program, _ = jit_programs(
        make_mesh(jax.devices()[:1]), model=run.model, param_labels=run.param_labels
    )
    batches = abstract.abstract_batches(run, 4, 8)
    key = jax.eval_shape(lambda: jax.random.key(0))
    count = jax.ShapeDtypeStruct((), np.int32)
    lowered = program.lower(run.state, batches, count, key)
    return lowered.as_text().count("dot_general")


@pytest.mark.slow
def test_a_deep_model_is_no_larger_a_program(monkeypatch):
    monkeypatch.setattr(scan, "SCAN_ABOVE", 2)
    assert _matmuls(5) == _matmuls(7)
    assert _matmuls(2) < _matmuls(3)  # these are not deep


@pytest.mark.parametrize("name", PRESETS)
def test_every_model_is_deep_but_for_its_last_blocks(name):
    num_layers = PRESETS[name].num_layers
    assert scan.is_scanned(num_layers, 0)
    assert not scan.is_scanned(num_layers, num_layers - 2)  # last_two_blocks
