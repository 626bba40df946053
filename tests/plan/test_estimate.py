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
from gpt2_jax.engine.trunk_cache import reuse_trunk
from gpt2_jax.plan.estimate import describe_estimate, estimate
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.plan.task import Task


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Task:
    return prepare(run_config(tmp_path_factory))


def _with(task: Task, **train) -> Task:
    config = dataclasses.replace(task.config.train, **train)
    return dataclasses.replace(
        task, config=dataclasses.replace(task.config, train=config)
    )


def _num_bytes(tree) -> int:
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree))


def test_memory_is_that_of_the_arrays_that_a_run_makes(task, tmp_path):
    found = estimate(task)
    tx = create_optimizer(task.config.train, task.param_labels, 10)
    state = create_train_state(task.model, task.params, tx)
    assert found.parameters == _num_bytes(state.params)
    trained = sum(
        leaf.nbytes
        for leaf, label in zip(
            jax.tree.leaves(task.params),
            jax.tree.leaves(task.param_labels),
            strict=True,
        )
        if label == "train"
    )
    assert found.optimizer == _num_bytes(state.opt_state) + trained
    made = reuse_trunk(
        task.model,
        task.params,
        task.texts,
        task.config.train,
        task.depth,
        tmp_path,
    )
    assert made is not None
    assert found.features == made.values.nbytes


def test_without_reuse_no_outputs_are_kept_but_every_step_costs_more(task):
    once, always = estimate(task), estimate(_with(task, reuse_trunk=False))
    assert always.features == 0
    assert always.flops > once.flops
    assert always.activations == once.activations > 0


def test_flops_grow_with_the_epochs_and_activations_with_the_batch(task):
    one = estimate(_with(task, epochs=1, reuse_trunk=False))
    three = estimate(_with(task, epochs=3, reuse_trunk=False))
    assert three.flops == pytest.approx(3 * one.flops)
    large = estimate(_with(task, batch_size=16))
    assert large.activations == 2 * estimate(task).activations


def test_the_lines_add_up(task):
    found = dataclasses.replace(
        estimate(task),
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
    task = prepare(config)
    tx = create_optimizer(config.train, task.param_labels, 10)
    state = create_train_state(task.model, task.params, tx)
    rows = task.texts.parts["train"][:32]
    batch = task.texts.batches(rows, task.width)
    step = functools.partial(
        train_step, model=task.model, param_labels=task.param_labels
    )
    compiled = jax.jit(step).lower(state, batch, jax.random.key(0)).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    kept = memory.temp_size_in_bytes
    assert 0.5 < kept / estimate(task).activations < 2
