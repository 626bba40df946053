"""The estimate of a dry run: what can be known beforehand is exact."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from training_helpers import run_config

from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.steps import create_train_state, train_step
from gpt2_jax.engine.texts import join, lay_out
from gpt2_jax.engine.trunk_cache import reuse_trunk
from gpt2_jax.plan.estimate import describe_estimate, estimate
from gpt2_jax.plan.prepare import Prepared, prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    return prepare(run_config(tmp_path_factory))


def _with(prepared: Prepared, **train) -> Prepared:
    config = dataclasses.replace(prepared.config.train, **train)
    return dataclasses.replace(
        prepared, config=dataclasses.replace(prepared.config, train=config)
    )


def _num_bytes(tree) -> int:
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree))


def test_memory_is_that_of_the_arrays_that_a_run_makes(prepared, tmp_path):
    found = estimate(prepared)
    tx = create_optimizer(prepared.config.train, prepared.labels, 10)
    state = create_train_state(prepared.model, prepared.params, tx)
    assert found.parameters == _num_bytes(state.params)
    trained = sum(
        leaf.nbytes
        for leaf, label in zip(
            jax.tree.leaves(prepared.params),
            jax.tree.leaves(prepared.labels),
            strict=True,
        )
        if label == "train"
    )
    assert found.optimizer == _num_bytes(state.opt_state) + trained
    examples, _ = join(prepared.examples)
    made = reuse_trunk(
        prepared.model,
        prepared.params,
        lay_out(examples, prepared.class_weights, padded=False),
        prepared.config.train,
        prepared.trunk_depth,
        tmp_path,
    )
    assert made is not None
    assert found.features == made.values.nbytes


def test_without_reuse_no_outputs_are_kept_but_every_step_costs_more(prepared):
    once, always = estimate(prepared), estimate(_with(prepared, reuse_trunk=False))
    assert always.features == 0
    assert always.flops > once.flops
    assert always.activations == once.activations > 0


def test_flops_grow_with_the_epochs_and_activations_with_the_batch(prepared):
    one = estimate(_with(prepared, epochs=1, reuse_trunk=False))
    three = estimate(_with(prepared, epochs=3, reuse_trunk=False))
    assert three.flops == pytest.approx(3 * one.flops)
    large = estimate(_with(prepared, batch_size=16))
    assert large.activations == 2 * estimate(prepared).activations


def test_the_lines_add_up(prepared):
    found = dataclasses.replace(
        estimate(prepared),
        parameters=10**6,
        optimizer=2 * 10**6,
        features=3 * 10**6,
        activations=4 * 10**6,
        flops=6e12,
    )
    memory, seconds = describe_estimate(found, rate=1e11)
    assert memory.startswith("memory, from shapes: 10.0 MB")
    assert seconds.startswith("time: about 60 s")


@pytest.mark.slow
def test_activations_are_about_what_xla_sets_aside(tmp_path_factory):
    config = run_config(tmp_path_factory, trainable=("all",), batch_size=32)
    prepared = prepare(config)
    tx = create_optimizer(config.train, prepared.labels, 10)
    state = create_train_state(prepared.model, prepared.params, tx)
    examples = prepared.examples["train"]
    batch = {
        "tokens": examples.tokens[:32],
        "lengths": examples.lengths[:32],
        "labels": examples.labels[:32],
        "weights": np.ones(32, np.float32),
    }
    step = functools.partial(train_step, model=prepared.model, labels=prepared.labels)
    compiled = jax.jit(step).lower(state, batch, jax.random.key(0)).compile()
    kept = compiled.memory_analysis().temp_size_in_bytes
    assert 0.5 < kept / estimate(prepared).activations < 2
