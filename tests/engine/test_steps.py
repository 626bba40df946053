"""One pure step: the same under jit, under pmap and on a trunk that was run before."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TINY
from training_helpers import (
    CLASS_WEIGHTS,
    NUM_LAYERS,
    as_data,
    compilations,
    make_examples,
    start_with_sgd,
    uneven_inputs,
)

from gpt2_jax.config import POOLS, TRAINABLE, TrainConfig
from gpt2_jax.engine.forward import gather, predict_rows
from gpt2_jax.engine.jit import Steps, jit_steps
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.param_labels import TRAIN, trunk_depth
from gpt2_jax.engine.pmap import pmap_steps
from gpt2_jax.engine.steps import create_train_state, train_step
from gpt2_jax.engine.texts import Inputs
from gpt2_jax.engine.trunk import run_trunk
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import flatten

_KEY = jax.random.key(5)
_NUM_STEPS = 3
_CONFIG = TrainConfig(learning_rate=1e-3, batch_size=8)


_ROWS = np.arange(8 * _NUM_STEPS).reshape(_NUM_STEPS, 8)
_start, _inputs = start_with_sgd, functools.partial(uneven_inputs, _ROWS.size)


def _random_features() -> dict[str, np.ndarray]:
    """Return a batch of 8 as the trunk might have left it."""
    hidden = np.random.default_rng(0).normal(size=(8, 16, TINY.embed_dim))
    batch = _inputs("last_real").select(np.arange(8))
    return {
        "features": hidden.astype(np.float32),
        "lengths": batch.lengths,
        "labels": batch.labels,
        "weights": batch.weights,
    }


def _step(steps: Steps, state: Any, batch: dict[str, np.ndarray], key: Any = _KEY):
    """Return the state after one step on `batch`, and its loss."""
    data, rows, width = as_data(batch)
    held = Inputs(**data, widths=(width,)) if steps.num_devices > 1 else data
    state, losses = steps.train(state, held, rows[None], key, width)
    return state, float(losses[0])


def _predict(steps: Steps, params: Any, batch: dict[str, np.ndarray]) -> np.ndarray:
    data, rows, width = as_data(batch)
    return np.asarray(steps.predict(params, data, rows, width))


def _uncompiled(model: GPT2, labels: Any, *, split: int = 0) -> Steps:
    """The pure functions as they stand."""
    fields = {"model": model, "split": split}

    def train(state, data, rows, key, width):
        losses = []
        for batch_rows in rows:
            batch = gather(data, batch_rows, width)
            state, loss = train_step(state, batch, key, labels=labels, **fields)
            losses.append(float(loss))
        return state, np.asarray(losses)

    return Steps(
        train=train,
        predict=functools.partial(predict_rows, **fields),
        place=lambda tree: tree,
        unplace=lambda tree: tree,
        hold=lambda inputs: inputs.data,
        num_devices=1,
    )


def _train(steps: Steps, state: Any, inputs: Inputs, rows: np.ndarray = _ROWS):
    """Return the host params after a step on each of `rows`, and the losses."""
    data, width = steps.hold(inputs), inputs.widths[-1]
    state, losses = steps.train(steps.place(state), data, rows, _KEY, width)
    return flatten(jax.tree.map(np.asarray, steps.unplace(state).params)), losses


@functools.cache
def _expected(scope: str, pool: str):
    model, _, labels, state = _start(scope, pool)
    return _train(_uncompiled(model, labels), state, _inputs(pool))


def _assert_as_expected(got, scope: str, pool: str) -> None:
    params, losses = got
    expected, expected_losses = _expected(scope, pool)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for path, leaf in params.items():
        np.testing.assert_allclose(
            leaf, expected[path], rtol=1e-5, atol=1e-6, err_msg=path
        )


@pytest.mark.parametrize(
    "scope",
    [
        pytest.param(s, marks=[] if s == "last_block" else pytest.mark.slow)
        for s in TRAINABLE
    ],
)
def test_the_pure_step_changes_all_that_trains_and_nothing_else(scope):
    _, params, labels, _ = _start(scope, "last_real")
    after, flat_labels = _expected(scope, "last_real")[0], flatten(labels)
    for path, leaf in flatten(params).items():
        same = np.asarray(leaf).tobytes() == after[path].tobytes()
        assert same == (flat_labels[path] != TRAIN), path


def test_jit_trains_what_the_pure_step_trains():
    model, _, labels, state = _start("last_block", "last_real")
    got = _train(jit_steps(model, labels), state, _inputs("last_real"))
    _assert_as_expected(got, "last_block", "last_real")


def _features(scope: str, pool: str) -> tuple[int, Inputs]:
    model, params, labels, _ = _start(scope, pool)
    split = trunk_depth(labels, NUM_LAYERS)
    return split, run_trunk(model.config, params, _inputs(pool), split)


@pytest.mark.parametrize(
    ("scope", "pool"),
    [
        pytest.param(s, p, marks=[] if s == "last_block" else pytest.mark.slow)
        for s in ("head", "last_block", "last_two_blocks")
        for p in POOLS
    ],
)
def test_a_trunk_run_once_gives_what_the_whole_model_gives(scope, pool):
    split, features = _features(scope, pool)
    model, params, labels, state = _start(scope, pool, split=split)
    assert "wte" not in params and ("ln_f" in params) == (scope != "head")
    got = _train(_uncompiled(model, labels, split=split), state, features)
    _assert_as_expected(got, scope, pool)


@pytest.mark.parametrize(
    ("scope", "pool"),
    [
        pytest.param(s, p, marks=[] if (s, p) == ("all", "mean") else pytest.mark.slow)
        for s in ("all", "lora")
        for p in POOLS
    ],
)
def test_tokens_end_to_end_give_what_padded_batches_give(scope, pool):
    model, _, labels, state = _start(scope, pool)
    examples, padded = make_examples(_ROWS.size), []
    for rows in _ROWS:
        batch = {
            "tokens": examples.tokens[rows],
            "lengths": examples.lengths[rows],
            "labels": examples.labels[rows],
            "weights": CLASS_WEIGHTS[examples.labels[rows]],
        }
        state, loss = train_step(state, batch, _KEY, model=model, labels=labels)
        padded.append(float(loss))
    _assert_as_expected((flatten(state.params), padded), scope, pool)


@pytest.mark.parametrize("scope", ["all", "lora"])
def test_where_all_blocks_train_there_is_no_trunk_to_run_once(scope):
    _, _, labels, _ = _start(scope, "last_real")
    assert trunk_depth(labels, NUM_LAYERS) == 0


@pytest.mark.parametrize("num_devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_calls_of_any_length_are_bit_equal_and_one_program(num_devices):
    model, _, labels, state = _start("last_block", "last_real")
    devices = jax.local_devices()[:2]
    rows = np.concatenate([_ROWS] * 3)
    results = []
    with compilations() as compiled:
        steps = (
            jit_steps(model, labels)
            if num_devices == 1
            else pmap_steps(model, labels, devices)
        )
        inputs = _inputs("last_real")
        data, width = steps.hold(inputs), inputs.widths[-1]
        for size in (1, 4, 9):
            moved, losses = steps.place(state), []
            for start in range(0, len(rows), size):
                call = rows[start : start + size]
                moved, some = steps.train(moved, data, call, _KEY, width)
                losses.extend(some.tolist())
            params = jax.tree.map(np.asarray, steps.unplace(moved).params)
            results.append((flatten(params), losses))
    for params, losses in results[1:]:
        assert losses == results[0][1]
        for path, leaf in params.items():
            assert leaf.tobytes() == results[0][0][path].tobytes(), path
    # pmap compiles it under a name of its own
    assert compiled["train_steps" if num_devices == 1 else "_fun"] == 1


def test_a_frozen_minus_zero_stays_minus_zero():
    model, params, labels, state = _start("head", "last_real", split=3)
    zeros = {**params["ln_f"], "bias": -jnp.zeros(TINY.embed_dim)}
    state = state.replace(params={**state.params, "ln_f": zeros})
    batch = _random_features()
    state, _ = _step(_uncompiled(model, labels, split=3), state, batch)
    assert np.signbit(state.params["ln_f"]["bias"]).all()


def test_training_leaves_the_params_it_started_from_alone():
    model, params, labels, _ = _start("head", "last_real", split=3)
    params = jax.tree.map(jnp.asarray, params)
    before = jax.tree.map(np.array, params)
    tx = create_optimizer(_CONFIG, labels, _NUM_STEPS)
    steps = jit_steps(model, labels, split=3)
    _step(steps, create_train_state(model, params, tx), _random_features())
    jax.tree.map(np.testing.assert_array_equal, params, before)


def test_rows_of_weight_zero_do_not_count():
    model, _, labels, state = _start("head", "last_real", split=3)
    steps = _uncompiled(model, labels, split=3)
    batch = _random_features()
    some = {name: value[:5] for name, value in batch.items()}
    filled = {**batch, "weights": batch["weights"] * (np.arange(8) < 5)}
    expected, expected_loss = _step(steps, state, some)
    got, loss = _step(steps, state, filled)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    for path, leaf in flatten(got.params).items():
        np.testing.assert_allclose(
            leaf, flatten(expected.params)[path], rtol=1e-5, atol=1e-6, err_msg=path
        )


def test_the_loss_is_the_mean_weighted_by_class():
    model, params, labels, state = _start("head", "last_real", split=3)
    batch = _random_features()
    steps = _uncompiled(model, labels, split=3)
    logits = _predict(steps, params, batch).astype(np.float64)
    log_norm = np.log(np.exp(logits).sum(-1))
    each = log_norm - logits[np.arange(8), batch["labels"]]
    expected = (each * batch["weights"]).sum() / batch["weights"].sum()
    assert not np.isclose(expected, each.mean(), rtol=1e-3)
    _, loss = _step(steps, state, batch)
    assert loss == pytest.approx(expected, rel=1e-5)


def _dropout_loss(rate: float, key: jax.Array, step: int = 0) -> float:
    model, _, labels, state = _start("head", "last_real", split=2, dropout_rate=rate)
    steps = _uncompiled(model, labels, split=2)
    return _step(steps, state.replace(step=step), _random_features(), key)[1]


@pytest.mark.slow
def test_dropout_changes_the_loss_with_the_key_and_the_step_alone():
    losses = {
        _dropout_loss(0.0, _KEY),
        _dropout_loss(0.4, _KEY),
        _dropout_loss(0.4, jax.random.key(6)),
        _dropout_loss(0.4, _KEY, step=1),
    }
    assert len(losses) == 4
    assert _dropout_loss(0.4, _KEY) in losses
    assert _dropout_loss(0.0, jax.random.key(6)) in losses


def test_dropout_is_off_in_predictions():
    logits = []
    for rate in (0.0, 0.4):
        model, params, labels, _ = _start(
            "head", "last_real", split=2, dropout_rate=rate
        )
        steps = _uncompiled(model, labels, split=2)
        logits.append(_predict(steps, params, _random_features()))
    np.testing.assert_array_equal(*logits)


@pytest.mark.slow
def test_bfloat16_keeps_float32_logits_and_params():
    batch, logits = _random_features(), {}
    for dtype in ("float32", "bfloat16"):
        model, params, labels, state = _start(
            "last_block", "last_real", split=2, dtype=dtype
        )
        steps = jit_steps(model, labels, split=2)
        logits[dtype] = _predict(steps, params, batch)
        state, _ = _step(steps, state, batch)
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(state.params)} == {
            "float32"
        }
    assert logits["bfloat16"].dtype == np.float32
    assert not np.array_equal(logits["bfloat16"], logits["float32"])
    np.testing.assert_allclose(logits["bfloat16"], logits["float32"], atol=0.1)
