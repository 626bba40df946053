"""Low-rank adapters: no change at first, merged without a trace at last."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TINY
from training_helpers import make_classifier, make_padded, run_config

from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.model.dense import _expand
from gpt2_jax.model.gpt2 import GPT2, param_shapes
from gpt2_jax.model.lora import add_adapters, merge_adapters
from gpt2_jax.model.tree import flatten, unflatten
from gpt2_jax.training.finetune import finetune
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.trained import load_model


def _logits(model: GPT2, params) -> np.ndarray:
    examples = make_padded(6)
    return np.asarray(
        model.apply({"params": params}, examples.tokens, examples.lengths)
    )


def _random_adapters(params):
    """Return `params` with every `lora_b` away from zero."""
    random = np.random.default_rng(1)
    return unflatten(
        {
            path: random.normal(0, 0.3, leaf.shape).astype(np.float32)
            if path.endswith("lora_b")
            else leaf
            for path, leaf in flatten(params).items()
        }
    )


def test_new_adapters_change_no_logit():
    plain, params = make_classifier()
    model, adapted = make_classifier("lora")
    np.testing.assert_array_equal(_logits(model, adapted), _logits(plain, params))


def test_gradients_of_adapters_are_those_of_what_is_merged():
    model, params = make_classifier("lora")
    params, examples = _random_adapters(params), make_padded(6)
    config = model.config
    plain = GPT2(dataclasses.replace(config, lora_rank=0))
    scale = config.lora_alpha / config.lora_rank

    def merged(params):
        flat = flatten(params)
        for path in [path for path in flat if path.endswith("lora_b")]:
            layer = path.removesuffix("/lora_b")
            low, b = flat.pop(f"{layer}/lora_a"), flat.pop(path)
            flat[f"{layer}/kernel"] = flat[f"{layer}/kernel"] + scale * low @ b
        return unflatten(flat)

    def loss(params, model):
        logits = model.apply({"params": params}, examples.tokens, examples.lengths)
        return (logits**2).sum()

    got = flatten(jax.grad(loss)(params, model))
    want = flatten(jax.grad(lambda params: loss(merged(params), plain))(params))
    for path, leaf in want.items():
        np.testing.assert_allclose(got[path], leaf, rtol=1e-3, atol=1e-4, err_msg=path)


def test_the_gradient_of_b_is_multiplied_in_its_own_order():
    """XLA on a CPU would compute what the larger one is made of column by column."""
    low, b = jnp.ones((3, 4, 2)), jnp.ones((2, 5))

    def products(multiply) -> str:
        loss = jax.grad(lambda b: (multiply(low, b) ** 2).sum())
        return str(jax.make_jaxpr(loss)(b))

    assert "f32[5,2] = dot_general" in products(jnp.matmul)
    found = products(lambda low, b: _expand(low, b, None))
    assert "f32[2,5] = dot_general" in found
    assert "f32[5,2] = dot_general" not in found


def test_adapters_stand_beside_every_kernel_but_the_heads():
    model, params = make_classifier("lora")
    shapes = {path: leaf.shape for path, leaf in flatten(params).items()}
    expected = flatten(param_shapes(model.config))
    assert shapes == {path: leaf.shape for path, leaf in expected.items()}
    assert shapes["h_0/mlp/c_fc/lora_a"] == (TINY.embed_dim, 2)
    assert shapes["h_0/mlp/c_fc/lora_b"] == (2, TINY.mlp_dim)
    assert "out_head/lora_a" not in shapes


def test_each_adapter_is_drawn_on_its_own():
    _, params = make_classifier("lora")
    flat = flatten(params)
    drawn = [leaf for path, leaf in flat.items() if path.endswith("c_fc/lora_a")]
    assert len({np.asarray(leaf).tobytes() for leaf in drawn}) == len(drawn) == 3
    bound = 1 / np.sqrt(TINY.embed_dim)
    assert all(0.5 * bound < np.abs(leaf).max() <= bound for leaf in drawn)


def test_merged_kernels_give_the_logits_of_the_adapted_model():
    model, params = make_classifier("lora")
    params = _random_adapters(params)
    plain, start = make_classifier()
    adapted = _logits(model, params)
    assert np.abs(adapted - _logits(plain, start)).max() > 1e-2
    merged = merge_adapters(params, model.config)
    assert set(flatten(merged)) == set(flatten(start))
    np.testing.assert_allclose(_logits(plain, merged), adapted, atol=2e-4)


def test_adding_adapters_leaves_the_given_params_alone():
    model, _ = make_classifier("lora")
    _, params = make_classifier()
    before = set(flatten(params))
    add_adapters(params, model.config, jax.random.key(0))
    assert set(flatten(params)) == before


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory):
    config = run_config(
        tmp_path_factory, trainable=("lora",), lora_rank=2, keep="last", epochs=1
    )
    workdir = tmp_path_factory.mktemp("lora") / "run"
    return workdir, finetune(config, workdir)


@pytest.mark.slow
def test_a_lora_run_moves_only_kernels_and_the_head(lora_run, tmp_path_factory):
    workdir, results = lora_run
    trained = load_model(workdir)
    assert trained.config.lora_rank == 0
    config = run_config(tmp_path_factory)
    start = flatten(load_pretrained(config.weights)[1])
    moved = {
        path
        for path, leaf in flatten(trained.params).items()
        if path not in start or not np.array_equal(leaf, start[path])
    }
    kernels = {path for path in start if path.endswith("/kernel")}
    assert moved == kernels | {"out_head/kernel", "out_head/bias"}
    # 3 blocks of 4 adapters: rank * (in + out); and the head.
    d = TINY.embed_dim
    adapters = 3 * 2 * ((d + 3 * d) + (d + d) + (d + 4 * d) + (4 * d + d))
    assert results["params"]["trainable"] == adapters + 2 * d + 2


@pytest.mark.slow
def test_the_merged_run_classifies_as_the_adapted_one_did(lora_run):
    # results.json is of the model with adapters, the classifier of the merged one.
    workdir, _ = lora_run
    rows = (workdir / "predictions.csv").read_text().splitlines()[1:]
    texts, probabilities = zip(
        *((row.split(",")[0], float(row.split(",")[4])) for row in rows), strict=True
    )
    got = Classifier.load(workdir).predict_proba(texts)[:, 1]
    np.testing.assert_allclose(got, probabilities, atol=2e-5)
