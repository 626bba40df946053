"""A loss of the caller's own, in every kind of step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_helpers import (
    NUM_LAYERS,
    finished_run,
    losses,
    run_config,
    start_with_sgd,
    uneven_texts,
)

from gpt2_jax.engine.forward import forward, gather
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.loss import cross_entropy, loss_identity
from gpt2_jax.engine.param_labels import TRAIN, trunk_depth
from gpt2_jax.engine.pmap import PmapSteps
from gpt2_jax.engine.trunk import run_trunk
from gpt2_jax.errors import UserError
from gpt2_jax.model.tree import flatten
from gpt2_jax.training.finetune import finetune

_SLOW = pytest.mark.slow
_ROWS, _WIDTH = np.arange(6)[None], 16


def focal(logits, labels, gamma=2.0):
    """Lin et al. 2017: what is learnt already weighs less."""
    nats = cross_entropy(logits, labels)
    return (1 - jnp.exp(-nats)) ** gamma * nats


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "scope", "reused"),
    [
        ("jit", "last_block", True),
        pytest.param("mesh", "last_block", False, marks=_SLOW),
        pytest.param("pmap", "last_block", True, marks=_SLOW),
        pytest.param("pmap", "lora", False, marks=_SLOW),
        pytest.param("fsdp", "all", False, marks=_SLOW),
        pytest.param("pieces", "last_block", True, marks=_SLOW),
    ],
)
def test_every_kind_of_step_takes_it_and_leaves_frozen_leaves_alone(
    kind, scope, reused
):
    texts, depth = uneven_texts(_ROWS.size), 0
    if reused:
        model, params, labels, _ = start_with_sgd(scope, "last_real")
        depth = trunk_depth(labels, NUM_LAYERS)
        texts = run_trunk(model.config, params, texts, depth)
    model, params, labels, state = start_with_sgd(scope, "last_real", depth=depth)
    devices = jax.devices()[: 1 if kind in ("jit", "pieces") else 2]
    build = PmapSteps if kind == "pmap" else jit_steps
    keywords: dict[str, Any] = {"shard": "fsdp"} if kind == "fsdp" else {}
    keywords |= {"accumulate": 2} if kind == "pieces" else {}
    steps = build(model, labels, texts, devices, depth=depth, loss=focal, **keywords)
    after, got = steps.train(steps.place(state), _ROWS, jax.random.key(0), _WIDTH)
    after = flatten(jax.tree.map(np.asarray, steps.unplace(after).params))

    data = jax.tree.map(jnp.asarray, texts.data)
    batch = gather(data, jnp.asarray(_ROWS[0]), _WIDTH)

    def plain(params):
        each = focal(forward(model, params, batch, depth=depth), batch["labels"])
        return (each * batch["loss_weights"]).sum() / batch["loss_weights"].sum()

    expected, grads = jax.jit(jax.value_and_grad(plain))(params)
    np.testing.assert_allclose(got[0], expected, rtol=1e-5)
    grads, before = flatten(grads), flatten(params)
    for path, label in flatten(labels).items():
        if label != TRAIN:
            assert after[path].tobytes() == np.asarray(before[path]).tobytes(), path
            continue
        step = before[path] - 0.1 * grads[path]
        np.testing.assert_allclose(after[path], step, rtol=1e-4, atol=1e-6)


def test_a_run_that_began_without_it_does_not_go_on_with_it(tmp_path_factory):
    config, run = run_config(tmp_path_factory), finished_run(tmp_path_factory)
    with pytest.raises(UserError, match=r"loss: there None, .* it began with"):
        finetune(config, run, loss=focal, resume=True)


@pytest.mark.slow
def test_a_run_with_it_goes_on_with_it_alone(tmp_path_factory, tmp_path):
    config, run = run_config(tmp_path_factory), tmp_path / "run"
    finetune(config, run, loss=focal)
    for step, loss in losses(finished_run(tmp_path_factory)):
        assert 0 < dict(losses(run))[step] < loss
    for other in (None, lambda z, y: focal(z, y, gamma=2.1)):
        with pytest.raises(UserError, match=r"and the loss=\.\.\. that it began with"):
            finetune(config, run, loss=other, resume=True)
    results = finetune(config, run, loss=lambda z, y: focal(z, y), resume=True)
    assert results.steps == 10


@pytest.mark.parametrize(
    "loss",
    [
        lambda logits, labels: cross_entropy(logits, labels).mean(),
        lambda logits, labels: labels,
        lambda logits, labels: logits,
    ],
    ids=["one-number", "integers", "one-per-class"],
)
def test_what_is_no_number_for_each_text_is_refused(loss):
    with pytest.raises(UserError, match=r"a number for each text, float \[16\]"):
        loss_identity(loss, 2)


def test_a_loss_is_known_by_what_it_makes_not_by_its_name():
    assert loss_identity(focal, 3) == loss_identity(lambda z, y: focal(z, y), 3)
    assert loss_identity(focal, 3) != loss_identity(cross_entropy, 3)
