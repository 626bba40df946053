"""One pure step: the same under jit, under pmap and on a trunk that was run before."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import TINY
from training_helpers import (
    CLASS_WEIGHTS,
    NUM_LAYERS,
    as_texts,
    compilations,
    make_classifier,
    make_padded,
    start_with_sgd,
    uneven_texts,
)

from gpt2_jax.config import POOLS, TRAINABLE, TrainConfig
from gpt2_jax.engine.forward import gather, predict_rows
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.param_labels import TRAIN, trunk_depth
from gpt2_jax.engine.pmap import PmapSteps
from gpt2_jax.engine.steps import create_train_state, train_step
from gpt2_jax.engine.texts import MAX_STEPS, Texts
from gpt2_jax.engine.trunk import run_trunk
from gpt2_jax.engine.wrapper import Steps
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import flatten

_KEY = jax.random.key(5)
_NUM_STEPS = 3
_CONFIG = TrainConfig(learning_rate=1e-3, batch_size=8)

_ROWS = np.arange(8 * _NUM_STEPS).reshape(_NUM_STEPS, 8)
_start, _texts = start_with_sgd, functools.partial(uneven_texts, _ROWS.size)


def _random_features() -> dict[str, np.ndarray]:
    """Return a batch of 8 as the trunk might have left it."""
    hidden = np.random.default_rng(0).normal(size=(8, 16, TINY.embed_dim))
    batch = _texts("last_real").select(np.arange(8))
    return {
        "features": hidden.astype(np.float32),
        "lengths": batch.lengths,
        "labels": batch.labels,
        "loss_weights": batch.loss_weights,
    }


def _step(steps: Steps, state: Any, key: Any = _KEY) -> tuple[Any, float]:
    """Return the state after one step on the texts of `steps`, and its loss."""
    state, losses = steps.train(state, np.arange(8)[None], key, 16)
    return state, float(losses[0])


def _predict(steps: Steps, params: Any) -> np.ndarray:
    return np.asarray(steps.predict(params, np.arange(8), 16))


class _Uncompiled:
    """The pure functions as they stand."""

    num_devices = 1

    def __init__(self, model: GPT2, labels: Any, texts: Texts, *, depth: int = 0):
        self.data, self.fields = texts.data, {"model": model, "depth": depth}
        self.labels = labels

    def train(self, state: Any, rows: np.ndarray, key: Any, width: int):
        losses = []
        for some in rows:
            batch = gather(self.data, some, width)
            state, loss = train_step(
                state, batch, key, param_labels=self.labels, **self.fields
            )
            losses.append(float(loss))
        return state, np.asarray(losses)

    def predict(self, params: Any, rows: np.ndarray, width: int):
        return predict_rows(params, self.data, rows, width, **self.fields)

    def most_steps(self, batch_size: int, width: int) -> int:
        return MAX_STEPS

    def place(self, tree: Any) -> Any:
        return tree

    def unplace(self, tree: Any) -> Any:
        return tree


def _train(steps: Steps, state: Any, width: int = 16):
    """Return the host params after a step on each of `_ROWS`, and the losses."""
    state, losses = steps.train(steps.place(state), _ROWS, _KEY, width)
    return flatten(jax.tree.map(np.asarray, steps.unplace(state).params)), losses


@functools.cache
def _expected(scope: str, pool: str):
    model, _, labels, state = _start(scope, pool)
    return _train(_Uncompiled(model, labels, _texts(pool)), state)


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
    got = _train(jit_steps(model, labels, _texts("last_real")), state)
    _assert_as_expected(got, "last_block", "last_real")


def _features(scope: str, pool: str) -> tuple[int, Texts]:
    model, params, labels, _ = _start(scope, pool)
    depth = trunk_depth(labels, NUM_LAYERS)
    return depth, run_trunk(model.config, params, _texts(pool), depth)


@pytest.mark.parametrize(
    ("scope", "pool"),
    [
        pytest.param(s, p, marks=[] if s == "last_block" else pytest.mark.slow)
        for s in ("head", "last_block", "last_two_blocks")
        for p in POOLS
    ],
)
def test_a_trunk_run_once_gives_what_the_whole_model_gives(scope, pool):
    depth, features = _features(scope, pool)
    model, params, labels, state = _start(scope, pool, depth=depth)
    assert "wte" not in params and ("ln_f" in params) == (scope != "head")
    steps = _Uncompiled(model, labels, features, depth=depth)
    got = _train(steps, state, features.widths[-1])
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
    examples, padded = make_padded(_ROWS.size), []
    for rows in _ROWS:
        batch = {
            "tokens": examples.tokens[rows],
            "lengths": examples.lengths[rows],
            "labels": examples.labels[rows],
            "loss_weights": CLASS_WEIGHTS[examples.labels[rows]],
        }
        state, loss = train_step(state, batch, _KEY, model=model, param_labels=labels)
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
        texts = _texts("last_real")
        steps = (
            jit_steps(model, labels, texts)
            if num_devices == 1
            else PmapSteps(model, labels, texts, devices)
        )
        for size in (1, 4, 9):
            moved, losses = steps.place(state), []
            for start in range(0, len(rows), size):
                call = rows[start : start + size]
                moved, some = steps.train(moved, call, _KEY, texts.widths[-1])
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
    model, params, labels, state = _start("head", "last_real", depth=3)
    zeros = {**params["ln_f"], "bias": -jnp.zeros(TINY.embed_dim)}
    state = state.replace(params={**state.params, "ln_f": zeros})
    texts = as_texts(_random_features())
    state, _ = _step(_Uncompiled(model, labels, texts, depth=3), state)
    assert np.signbit(state.params["ln_f"]["bias"]).all()


def test_training_leaves_the_params_it_started_from_alone():
    model, params, labels, _ = _start("head", "last_real", depth=3)
    params = jax.tree.map(jnp.asarray, params)
    before = jax.tree.map(np.array, params)
    tx = create_optimizer(_CONFIG, labels, _NUM_STEPS)
    steps = jit_steps(model, labels, as_texts(_random_features()), depth=3)
    _step(steps, create_train_state(model, params, tx))
    jax.tree.map(np.testing.assert_array_equal, params, before)


def test_rows_of_weight_zero_do_not_count():
    model, _, labels, state = _start("head", "last_real", depth=3)
    batch = _random_features()
    weights = batch["loss_weights"] * (np.arange(8) < 5)
    filled = as_texts({**batch, "loss_weights": weights})
    some = _Uncompiled(model, labels, as_texts(batch), depth=3)
    expected, losses = some.train(state, np.arange(5)[None], _KEY, 16)
    got, loss = _step(_Uncompiled(model, labels, filled, depth=3), state)
    expected_loss = losses[0]
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    for path, leaf in flatten(got.params).items():
        np.testing.assert_allclose(
            leaf, flatten(expected.params)[path], rtol=1e-5, atol=1e-6, err_msg=path
        )


def test_the_loss_is_the_mean_weighted_by_class():
    model, params, labels, state = _start("head", "last_real", depth=3)
    batch = _random_features()
    steps = _Uncompiled(model, labels, as_texts(batch), depth=3)
    logits = _predict(steps, params).astype(np.float64)
    log_norm = np.log(np.exp(logits).sum(-1))
    each = log_norm - logits[np.arange(8), batch["labels"]]
    expected = np.average(each, weights=batch["loss_weights"])
    assert not np.isclose(expected, each.mean(), rtol=1e-3)
    _, loss = _step(steps, state)
    assert loss == pytest.approx(expected, rel=1e-5)


def _dropout_loss(rate: float, key: jax.Array, step: int = 0) -> float:
    model, _, labels, state = _start("head", "last_real", depth=2, dropout_rate=rate)
    steps = _Uncompiled(model, labels, as_texts(_random_features()), depth=2)
    return _step(steps, state.replace(step=step), key)[1]


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
            "head", "last_real", depth=2, dropout_rate=rate
        )
        steps = _Uncompiled(model, labels, as_texts(_random_features()), depth=2)
        logits.append(_predict(steps, params))
    np.testing.assert_array_equal(*logits)


@pytest.mark.slow
def test_bfloat16_keeps_float32_logits_and_params():
    batch, logits = _random_features(), {}
    for dtype in ("float32", "bfloat16"):
        model, params, labels, state = _start(
            "last_block", "last_real", depth=2, dtype=dtype
        )
        steps = jit_steps(model, labels, as_texts(batch), depth=2)
        logits[dtype] = _predict(steps, params)
        state, _ = _step(steps, state)
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(state.params)} == {
            "float32"
        }
    assert logits["bfloat16"].dtype == np.float32
    assert not np.array_equal(logits["bfloat16"], logits["float32"])
    np.testing.assert_allclose(logits["bfloat16"], logits["float32"], atol=0.1)


def test_an_optimizer_may_read_values_when_it_begins():
    """jax need not trace its `init`, nor need it be hashable."""

    @dataclasses.dataclass
    class Init:
        scale: float

        def __call__(self, params):
            return self.scale * float(params["out_head"]["bias"].sum())

    model, params = make_classifier()
    tx = optax.GradientTransformation(Init(2.0), optax.identity().update)
    state = create_train_state(model, params, tx)
    assert state.opt_state == 2 * float(params["out_head"]["bias"].sum()) != 0
