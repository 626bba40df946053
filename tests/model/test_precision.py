"""float32 means float32 on every device, unless `--precision` says otherwise."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TINY, random_params
from rounding import BFLOAT16, rounded_matmuls
from training_helpers import make_classifier, make_texts, random_run, start_with_sgd

from gpt2_jax.config import AdaptConfig, FinetuneConfig
from gpt2_jax.engine.forward import predict_program, predict_step
from gpt2_jax.engine.steps import train_step
from gpt2_jax.engine.trunk import block_programs
from gpt2_jax.export.classifier import export_run
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.inference.gradients import _program as gradients_program
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.weights.trained import load_model


def programs(**changes):
    """Yield every program that a run or a prediction compiles, lowered."""
    texts = make_texts(4)
    batch = texts.batches(np.arange(4), 16)
    model, _, labels, state = start_with_sgd("lora", "last_mean", **changes)
    step = functools.partial(train_step, model=model, param_labels=labels)
    yield "train", jax.jit(step).lower(state, batch, jax.random.key(0))
    model, params = make_classifier(**changes)
    program: Any = predict_program(model.config, 0)
    yield "predict", program.lower(params, batch)
    hidden, ids = jnp.ones((2, 16, 12)), jnp.zeros((2, 16), jnp.int32)
    program = block_programs(model.config)[1]
    yield "trunk", program.lower(params["h_0"], hidden, ids)
    one = jnp.ones(2, jnp.int32)
    program = gradients_program(model.config, 0)
    yield "gradients", program.lower(params, ids, one, one, jnp.ones(2))
    language = GPT2(dataclasses.replace(TINY, **changes))
    yield (
        "language",
        jax.jit(language.apply).lower({"params": random_params(TINY)}, ids),
    )


def dots(lowered):
    found = [line for line in lowered.as_text().splitlines() if "dot_general" in line]
    assert found
    return found


@pytest.mark.slow
def test_every_matmul_of_every_program_is_float32_itself():
    for name, lowered in programs():
        rounded = [line for line in dots(lowered) if "[HIGHEST, HIGHEST]" not in line]
        assert not rounded, name


@pytest.mark.parametrize("precision", ["high", "default"])
def test_another_precision_is_that_of_every_matmul(precision):
    _, lowered = next(iter(programs(precision=precision)))
    high = ["[HIGH, HIGH]" in line for line in dots(lowered)]
    assert all(high) if precision == "high" else "HIGH" not in str(dots(lowered))


def test_bfloat16_rounds_its_operands_itself_and_the_head_stays_float32():
    model, params = make_classifier(dtype="bfloat16")
    batch = make_texts(4).batches(np.arange(4), 16)
    step = jax.jit(functools.partial(predict_step, model=model))
    *blocks, head = dots(step.lower(params, batch))
    assert "HIGHEST" in head
    assert not [line for line in blocks if "HIGHEST" in line]


@pytest.mark.slow
def test_an_export_does_not_refuse_itself_where_a_device_rounds(tmp_path):
    run = random_run(tmp_path / "run", precision="default")
    # The kernels that it writes are rounded otherwise than those that it reads.
    with rounded_matmuls(BFLOAT16):
        export_run(run, tmp_path / "out", "hf")


@pytest.mark.slow
def test_it_is_stored_and_predicts_with(tmp_path, tmp_path_factory):
    run = random_run(tmp_path, precision="default")
    assert load_model(run).config.precision == "default"
    (exact,) = Classifier.load(random_run(tmp_path / "b")).logits(["free prize now"])
    with rounded_matmuls(BFLOAT16):
        (rounded,) = Classifier.load(run).logits(["free prize now"])
        (same,) = Classifier.load(tmp_path / "b").logits(["free prize now"])
    np.testing.assert_allclose(same, exact, atol=1e-5)
    assert np.abs(rounded - exact).max() > 1e-4


def test_each_job_has_the_setting():
    assert FinetuneConfig().precision == AdaptConfig().precision == "highest"
    with pytest.raises(ValueError, match="precision"):
        FinetuneConfig(precision="tf32")  # pyright: ignore
