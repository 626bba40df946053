"""What trains: every leaf labelled, and AdamW as PyTorch has it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import TINY, random_params
from training_helpers import NUM_LAYERS, make_classifier, make_texts

from gpt2_jax.config import TRAINABLE, GPT2Config, TrainConfig
from gpt2_jax.engine.optimizer import create_optimizer, create_schedule
from gpt2_jax.engine.param_labels import FREEZE, TRAIN, label_params, trunk_depth
from gpt2_jax.engine.steps import create_train_state, train_step
from gpt2_jax.model.gpt2 import GPT2, param_shapes
from gpt2_jax.model.tree import flatten

_BLOCK = {
    *(f"{part}/{leaf}" for part in ("ln_1", "ln_2") for leaf in ("scale", "bias")),
    *(
        f"{part}/{leaf}"
        for part in ("attn/c_attn", "attn/c_proj", "mlp/c_fc", "mlp/c_proj")
        for leaf in ("kernel", "bias")
    ),
}
_HEAD = {"out_head/kernel", "out_head/bias"}
_NORM = {"ln_f/scale", "ln_f/bias"}
_EMBEDDINGS = {"wte/embedding", "wpe/embedding"}


def _block(index: int) -> set[str]:
    return {f"h_{index}/{path}" for path in _BLOCK}


_ADAPTERS = {
    f"h_{i}/{layer}/{leaf}"
    for i in range(NUM_LAYERS)
    for layer in ("attn/c_attn", "attn/c_proj", "mlp/c_fc", "mlp/c_proj")
    for leaf in ("lora_a", "lora_b")
}
_EXPECTED = {
    "head": _HEAD,
    "last_block": _block(2) | _NORM | _HEAD,
    "last_two_blocks": _block(1) | _block(2) | _NORM | _HEAD,
    "all": _block(0) | _block(1) | _block(2) | _NORM | _HEAD | _EMBEDDINGS,
    "lora": _ADAPTERS | _HEAD,
}


def _update(tx: optax.GradientTransformation, grads: Any, params: Any) -> Any:
    """Return the first updates."""
    return tx.update(grads, tx.init(params), params)[0]


def _trained(labels) -> set[str]:
    return {path for path, label in flatten(labels).items() if label == TRAIN}


def test_every_named_scope_has_its_parameters_here():
    assert set(_EXPECTED) == set(TRAINABLE)


@pytest.mark.parametrize("scope", _EXPECTED)
def test_each_named_scope_trains_exactly_its_parameters(scope):
    _, params = make_classifier(scope)
    labels = label_params(params, scope, NUM_LAYERS)
    assert _trained(labels) == _EXPECTED[scope]
    assert set(flatten(labels)) == set(flatten(params))
    assert set(flatten(labels).values()) <= {TRAIN, FREEZE}


def test_block_numbers_of_two_digits_are_not_cut():
    config = GPT2Config(
        vocab_size=5, max_len=4, embed_dim=4, num_layers=12, num_heads=2, num_classes=2
    )
    trained = _trained(label_params(param_shapes(config), "last_two_blocks", 12))
    assert {path.split("/")[0] for path in trained} == {
        "h_10",
        "h_11",
        "ln_f",
        "out_head",
    }


def test_several_patterns_train_what_any_of_them_matches():
    _, params = make_classifier()
    labels = label_params(params, ("out_head/bias", r"h_0/mlp/.*/bias"), NUM_LAYERS)
    assert _trained(labels) == {
        "out_head/bias",
        "h_0/mlp/c_fc/bias",
        "h_0/mlp/c_proj/bias",
    }


def test_a_pattern_must_match_whole_paths():
    _, params = make_classifier()
    with pytest.raises(ValueError, match="match no parameter: out_head"):
        label_params(params, ("out_head",), NUM_LAYERS)


def test_one_pattern_without_a_match_is_refused_beside_good_ones():
    _, params = make_classifier()
    with pytest.raises(ValueError, match=r"match no parameter: h_9/\.\*"):
        label_params(params, ("out_head/.*", "h_9/.*"), NUM_LAYERS)


def test_a_pattern_that_is_no_regex_is_refused_by_name():
    _, params = make_classifier()
    with pytest.raises(ValueError, match=r"'h_\(' is no regex"):
        label_params(params, "h_(", NUM_LAYERS)


@pytest.mark.parametrize(
    ("trainable", "depth"),
    [
        ("head", 4),
        ("last_block", 2),
        ("last_two_blocks", 1),
        ("all", 0),
        (("ln_f/.*",), 3),
        (("wpe/.*", "h_2/.*"), 0),
        (("h_1/ln_1/bias", "out_head/.*"), 1),
    ],
)
def test_the_trunk_ends_below_all_that_trains(trainable, depth):
    _, params = make_classifier()
    labels = label_params(params, trainable, NUM_LAYERS)
    assert trunk_depth(labels, NUM_LAYERS) == depth


def test_frozen_leaves_have_no_optimizer_state():
    _, params = make_classifier()
    labels = label_params(params, "last_block", NUM_LAYERS)
    state = create_optimizer(TrainConfig(), labels, 10).init(params)
    flat = flatten(params)
    trained = [flat[path] for path in _EXPECTED["last_block"]]
    leaves = jax.tree.leaves(state)
    moments = [leaf for leaf in leaves if leaf.ndim]
    assert len(moments) == 2 * len(trained)
    assert sum(m.nbytes for m in moments) == 2 * sum(leaf.nbytes for leaf in trained)
    assert len(leaves) - len(moments) <= 2  # step counts


def test_frozen_leaves_get_no_update_though_their_gradient_is_large():
    _, params = make_classifier()
    labels = label_params(params, "head", NUM_LAYERS)
    tx = create_optimizer(TrainConfig(weight_decay=0.5), labels, 10)
    grads = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1e6), params)
    updates = _update(tx, grads, params)
    for path, update in flatten(updates).items():
        assert np.any(update != 0) == (path in _HEAD), path


# Wide enough that the matrix products decide the count.
_WIDE = dataclasses.replace(TINY, embed_dim=32, num_layers=4, num_classes=2)


@functools.cache
def _step_flops(trainable: str, clip_norm: float | None = None) -> float:
    model = GPT2(_WIDE)
    params = random_params(_WIDE)
    labels = label_params(params, trainable, _WIDE.num_layers)
    config = TrainConfig(clip_norm=clip_norm)
    state = create_train_state(model, params, create_optimizer(config, labels, 10))
    batch = {
        "tokens": np.zeros((4, 24), np.int32),
        "lengths": np.full(4, 20, np.int32),
        "labels": np.zeros(4, np.int32),
        "loss_weights": np.ones(4, np.float32),
    }
    step = jax.jit(functools.partial(train_step, model=model, param_labels=labels))
    compiled = step.lower(state, batch, jax.random.key(0)).compile()
    cost = compiled.cost_analysis()
    assert cost is not None
    return cost["flops"]


@pytest.mark.slow
def test_a_frozen_block_costs_no_backward_pass():
    # Four blocks: a forward pass of all and a backward one (twice as dear) of the last.
    assert _step_flops("last_block") < 0.5 * _step_flops("all")
    assert _step_flops("head") < 0.4 * _step_flops("all")


@pytest.mark.slow
def test_clipping_does_not_bring_the_frozen_gradients_back():
    assert _step_flops("last_block", 1.0) < 1.02 * _step_flops("last_block")


def test_clipping_measures_the_trained_gradients_alone():
    params = {"a": jnp.array([0.0, 0.0]), "b": jnp.array([0.0])}
    config = TrainConfig(clip_norm=1.0, learning_rate=1e-2, weight_decay=0.0)
    grads = {"a": jnp.array([3e-8, 4e-8]), "b": jnp.array([1e9])}  # b is frozen
    labels = {"a": TRAIN, "b": FREEZE}
    tx = create_optimizer(config, labels, 10)
    updates = _update(tx, grads, params)
    # Far below the norm, so unclipped: Adam's first step is g / (|g| + eps).
    expected = -1e-2 * np.array([3 / (3 + 1), 4 / (4 + 1)])
    np.testing.assert_allclose(updates["a"], expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_adamw_is_pytorchs_adamw_with_decay_on_biases_too(clip_norm):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    start = {"kernel": random.normal(size=(3, 4)), "bias": random.normal(size=4)}
    start = {name: value.astype(np.float32) for name, value in start.items()}
    config = TrainConfig(
        learning_rate=3e-2, weight_decay=0.3, clip_norm=clip_norm, schedule="constant"
    )
    tx = create_optimizer(config, {"kernel": TRAIN, "bias": TRAIN}, 10)
    params: Any = jax.tree.map(jnp.asarray, start)
    state = tx.init(params)
    theirs = {
        name: torch.nn.Parameter(torch.tensor(value)) for name, value in start.items()
    }
    adamw = torch.optim.AdamW(theirs.values(), lr=3e-2, weight_decay=0.3)
    for _ in range(6):
        grads = {
            name: random.normal(size=value.shape).astype(np.float32)
            for name, value in start.items()
        }
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(grads[name])
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(theirs.values(), clip_norm)
        adamw.step()
    for name, parameter in theirs.items():
        np.testing.assert_allclose(
            params[name], parameter.detach().numpy(), rtol=1e-5, atol=1e-6
        )


def test_a_bias_without_gradient_still_decays():
    params = {"bias": jnp.array([2.0])}
    config = TrainConfig(learning_rate=0.1, weight_decay=0.5)
    tx = create_optimizer(config, {"bias": TRAIN}, 10)
    updates = _update(tx, {"bias": jnp.zeros(1)}, params)
    np.testing.assert_allclose(updates["bias"], [-0.1 * 0.5 * 2.0], rtol=1e-6)


def _rates(config: TrainConfig, total_steps: int) -> Callable[[int], float]:
    schedule = create_schedule(config, total_steps)
    return lambda step: float(np.asarray(schedule(step)))


@pytest.mark.parametrize(
    ("schedule", "warmup_steps", "values"),
    [
        ("constant", 0, {0: 1.0, 5: 1.0, 10: 1.0}),
        ("linear", 0, {0: 1.0, 5: 0.5, 10: 0.0}),
        ("cosine", 0, {0: 1.0, 5: 0.5, 10: 0.0, 2: (1 + np.cos(0.2 * np.pi)) / 2}),
        ("constant", 4, {0: 0.0, 1: 0.25, 4: 1.0, 9: 1.0}),
        ("linear", 4, {0: 0.0, 2: 0.5, 4: 1.0, 7: 0.5, 10: 0.0}),
        ("cosine", 4, {0: 0.0, 2: 0.5, 4: 1.0, 7: 0.5, 10: 0.0}),
    ],
)
def test_a_schedule_warms_up_and_then_falls_to_zero(schedule, warmup_steps, values):
    config = TrainConfig(
        learning_rate=2e-3, schedule=schedule, warmup_steps=warmup_steps
    )
    rate = _rates(config, 10)
    for step, value in values.items():
        assert rate(step) == pytest.approx(2e-3 * value, rel=1e-5, abs=1e-9)


def test_unless_told_otherwise_a_decay_is_warmed_up_over_a_twentieth():
    rate = _rates(TrainConfig(learning_rate=1.0, schedule="cosine"), 100)
    assert [rate(step) for step in (0, 5, 100)] == pytest.approx([0, 1, 0])
    assert rate(2) == pytest.approx(0.4)
    rate = _rates(TrainConfig(learning_rate=1.0, schedule="constant"), 100)
    assert rate(0) == 1.0


def test_the_optimizer_follows_the_schedule():
    config = TrainConfig(learning_rate=0.1, schedule="linear", weight_decay=0.0)
    tx = create_optimizer(config, {"w": TRAIN}, 4)
    params = {"w": jnp.zeros(1)}
    state, sizes = tx.init(params), []
    for _ in range(5):
        updates, state = tx.update({"w": jnp.ones(1)}, state, params)
        (update,) = jax.tree.leaves(updates)
        sizes.append(-float(update[0]))
    np.testing.assert_allclose(sizes, [0.1, 0.075, 0.05, 0.025, 0.0], atol=1e-6)


def test_an_optimizer_of_ones_own_leaves_frozen_leaves_bit_equal():
    model, params = make_classifier()
    labels = label_params(params, "last_block", NUM_LAYERS)
    tx = create_optimizer(TrainConfig(), labels, 10, optax.sgd(0.5, momentum=0.9))
    state = create_train_state(model, params, tx)
    batch = make_texts(8).batches(np.arange(8), 16)
    step = functools.partial(train_step, model=model, param_labels=labels)
    after, _ = jax.jit(step)(state, batch, jax.random.key(0))
    for path, leaf in flatten(params).items():
        same = np.asarray(leaf).tobytes() == flatten(after.params)[path].tobytes()
        assert same == (path not in _EXPECTED["last_block"]), path
    shapes = {leaf.shape for leaf in jax.tree.leaves(state.opt_state)}
    assert flatten(params)["wte/embedding"].shape not in shapes
