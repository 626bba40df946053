"""Params and optimizer state cut over the devices: the numbers of one device."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from training_helpers import losses, run_config, start_with_sgd, uneven_texts

from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.config import TrainConfig
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.mesh import leaf_sharding, make_mesh
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.model.tree import flatten
from gpt2_jax.training.finetune import finetune

_KEY = jax.random.key(5)
_ROWS = np.arange(24).reshape(3, 8)


def _run(
    num_devices: int,
    shard: str,
    *,
    pool: str = "last_real",
    rows=_ROWS,
    accumulate: int = 1,
    **model,
):
    """Return host params after a step on each of `rows`, losses, logits, and state."""
    model, _, labels, state = start_with_sgd("all", pool, **model)
    devices = jax.devices()[:num_devices]
    texts = uneven_texts(_ROWS.size, pool)
    steps = jit_steps(model, labels, texts, devices, shard=shard, accumulate=accumulate)
    state, losses = steps.train(steps.place(state), rows, _KEY, 16)
    logits = np.asarray(steps.predict(state.params, np.arange(8), 16))
    return flatten(steps.unplace(state.params)), losses, logits, state


_run_on_four = functools.cache(functools.partial(_run, 4, "fsdp"))


def _assert_equal(got, expected) -> None:
    for ours, theirs in zip(got[1:3], expected[1:3], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    for path, leaf in got[0].items():
        np.testing.assert_allclose(
            leaf, expected[0][path], rtol=1e-5, atol=1e-6, err_msg=path
        )


@pytest.mark.slow
def test_params_cut_over_devices_train_as_on_one():
    _assert_equal(_run_on_four(), _run(1, "none"))


@pytest.mark.slow
def test_a_batch_in_pieces_is_that_batch():
    _assert_equal(_run(2, "fsdp", accumulate=2), _run(1, "none"))


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["last_real", "last", "mean"])
@pytest.mark.parametrize("num_devices", [1, 2, 4, 8])
def test_params_cut_over_any_devices_train_as_on_one(num_devices, pool):
    rows = _ROWS[:, :6]  # which 4 and 8 do not divide
    got = _run(num_devices, "fsdp", pool=pool, rows=rows)
    _assert_equal(got, _run(1, "none", pool=pool, rows=rows))


@pytest.mark.slow
def test_what_an_example_drops_is_the_same_on_any_devices():
    runs = [_run(num, "fsdp", dropout_rate=0.4) for num in (1, 4)]
    _assert_equal(*runs)
    assert not np.allclose(runs[0][1], _run(1, "none")[1], rtol=1e-3)


def test_a_leaf_is_cut_along_its_largest_axis_that_the_devices_divide():
    mesh = make_mesh(jax.devices()[:4])
    specs = {(61, 12): (None, "data"), (12, 36): (None, "data"), (24, 12): ("data",)}
    for shape, spec in {**specs, (61,): (), (): ()}.items():
        got = tuple(leaf_sharding(mesh, shape).spec)
        assert got[: len(spec)] == spec and not any(got[len(spec) :]), shape


@pytest.mark.slow
def test_after_the_steps_each_device_holds_its_part_of_the_state():
    state = _run_on_four()[-1]
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        held = int(np.prod(leaf.addressable_data(0).shape))
        assert held == leaf.size // (1 if leaf.size % 4 else 4), path
    assert len({leaf.shape for leaf in jax.tree.leaves(state)}) > 3


def test_a_checkpoint_of_it_is_restored_on_one_device(tmp_path):
    model, params, labels, _ = start_with_sgd("all", "last_real")
    config = TrainConfig(trainable=("all",))
    tx = create_optimizer(config, labels, 3)
    texts = uneven_texts(8)
    steps = jit_steps(model, labels, texts, jax.devices()[:8], shard="fsdp")
    state = create_train_state(model, params, tx)
    random = np.random.default_rng(0)
    state = jax.tree.map(np.asarray, state.replace(step=3))
    trained = jax.tree.map(
        lambda x: x if x.ndim == 0 else random.normal(size=x.shape).astype(x.dtype),
        state,
    )
    trained = steps.unplace(steps.place(trained))
    checkpoints = Checkpoints(tmp_path, labels)
    checkpoints.save(trained, {"step": 3}, score=1.0)
    found = checkpoints.restore(state, best=False)
    checkpoints.close()
    assert found is not None
    restored, _ = found
    assert int(restored.step) == 3
    jax.tree.map(np.testing.assert_array_equal, restored.params, trained.params)
    jax.tree.map(np.testing.assert_array_equal, restored.opt_state, trained.opt_state)


@pytest.mark.slow
def test_a_run_of_it_is_the_run_on_one_device(tmp_path_factory, tmp_path):
    for name, changes in {
        "one": {"devices": 1},
        "cut": {"devices": 8, "shard": "fsdp"},
    }.items():
        config = run_config(
            tmp_path_factory, trainable=("all",), learning_rate=1e-4, **changes
        )
        finetune(config, tmp_path / name)
    np.testing.assert_allclose(
        losses(tmp_path / "cut"), losses(tmp_path / "one"), rtol=1e-5
    )
