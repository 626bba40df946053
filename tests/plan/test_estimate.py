"""The estimate of a dry run: what can be known beforehand is exact."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from helpers import TINY
from training_helpers import run_config

from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.steps import create_train_state, train_step
from gpt2_jax.engine.trunk_cache import reuse_trunk
from gpt2_jax.plan.estimate import (
    BASE_BYTES,
    BASE_SECONDS,
    STEP_SECONDS,
    describe_estimate,
    estimate,
    matmul_rate,
)
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
        linear=5 * 10**6,
        flops=6e12,
        steps=1000,
        linear_seconds=7.0,
    )
    memory, seconds = describe_estimate(found, rate=1e11)
    total = (BASE_BYTES + 15 * 10**6) / 1e6
    assert memory.startswith(f"memory: about {total:.1f} MB")
    total = 60 + BASE_SECONDS + 1000 * STEP_SECONDS + 7
    assert seconds.startswith(f"time: about {total:.0f} s")


def test_linear_baselines_cost_by_texts_and_classes_where_they_are_measured(task):
    found = estimate(task)
    assert found.linear > 0 and found.linear_seconds > 0
    without = dataclasses.replace(task.config, baselines="none")
    none = estimate(dataclasses.replace(task, config=without))
    assert none.linear == none.linear_seconds == 0
    classes = tuple(map(str, range(150)))
    many = dataclasses.replace(task.dataset, classes=classes)
    many = estimate(dataclasses.replace(task, dataset=many))
    assert many.linear == pytest.approx(150 * found.linear, rel=1e-3)
    assert many.linear_seconds > 5 * found.linear_seconds


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


def test_on_an_accelerator_one_call_has_many_matmuls(monkeypatch):
    # 64 pairs of matmuls in a call, and the work of all of them is counted.
    found = []
    real = jax.lax.fori_loop

    def loop(start, stop, body, x):
        found.append((stop - start, x.shape[0]))
        return real(0, 1, body, x)

    monkeypatch.setattr(jax.lax, "fori_loop", loop)
    config = dataclasses.replace(TINY, embed_dim=8)
    matmul_rate(config, seconds=0.01)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    matmul_rate(config, seconds=0.01)
    assert found == [(1, 2048), (64, 16384)]
