"""Stored logits and losses of PyTorch's beside those of this device."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpt2_jax import load_pretrained, to_classifier
from gpt2_jax.config import FINETUNE_PRESETS
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.param_labels import label_params
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.engine.texts import Texts
from gpt2_jax.model.gpt2 import GPT2

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
STEPS, BATCH, WIDTH = 40, 8, 120  # of the stored losses; tests/model/test_parity.py
# Largest differences of logits and losses that parity allows, by dtype. Those of
# bfloat16 are twice what a CPU has: 0.041, and 0.123 of one batch of 8.
BOUNDS = {"float32": (1e-4, 1e-4), "bfloat16": (0.082, 0.25)}


def parity(arguments: argparse.Namespace) -> dict[str, Any]:
    """PyTorch's logits, and the losses of 40 steps of chapter 6's training."""
    dtype = arguments.dtype
    stored = np.load(GOLDEN / "hf_odd.npz")
    config, params = load_pretrained(GOLDEN / "hf_odd")
    config = dataclasses.replace(config, dtype=dtype)
    tokens = jnp.asarray(stored["tokens"], jnp.int32)
    logits = jax.jit(GPT2(config).apply)({"params": params}, tokens)
    error = np.asarray(logits, np.float32) - stored["logits"]
    losses, expected = _book_losses(dtype)
    largest = {
        "logits: largest difference": float(np.abs(error).max()),
        "losses of 40 steps: largest difference": float(
            np.abs(losses - expected).max()
        ),
    }
    bounds = zip(largest.items(), BOUNDS[dtype], strict=True)
    return {
        **largest,
        "logits: rms difference": float(np.sqrt((error**2).mean())),
        "failed": [name for (name, value), bound in bounds if not value <= bound],
    }


def _book_losses(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Train mini on the stored batches; return our losses, and PyTorch's."""
    stored = np.load(GOLDEN / "book_40_steps.npz")
    config, params = load_pretrained("mini")
    preset = FINETUNE_PRESETS["book"]
    head = {"kernel": stored["head_kernel"], "bias": stored["head_bias"]}
    model, params = to_classifier(
        config, params, num_classes=2, key=jax.random.key(0), pool="last", dtype=dtype
    )
    params = {**params, "out_head": head}
    scopes = label_params(params, preset.train.trainable, config.num_layers)
    tx = create_optimizer(preset.train, scopes, STEPS)
    count = STEPS * BATCH
    texts = Texts(
        values=stored["tokens"].reshape(-1).astype(np.int32),
        starts=np.arange(count, dtype=np.int32) * WIDTH,
        lengths=stored["lengths"].reshape(-1).astype(np.int32),
        labels=stored["labels"].reshape(-1).astype(np.int32),
        loss_weights=np.ones(count, np.float32),
        widths=(WIDTH,),
    )
    steps = jit_steps(model, scopes, texts)
    rows = np.arange(count, dtype=np.int32).reshape(STEPS, BATCH)
    state = steps.place(create_train_state(model, params, tx))
    _, losses = steps.train(state, rows, jax.random.key(0), WIDTH)
    return losses, stored["losses"]
