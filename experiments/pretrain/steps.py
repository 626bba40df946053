"""The state that pre-training begins with, and its optimizer."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import cast

import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState

from experiments.pretrain.config import PretrainConfig
from gpt2_jax import GPT2, load_pretrained
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.errors import UserError
from gpt2_jax.model.tree import Params, flatten, unflatten

SIZES = ("embed_dim", "num_layers", "num_heads")


def read_weights(config: PretrainConfig) -> tuple[PretrainConfig, Params | None]:
    """Return the params of `config.weights`, and `config` with their sizes.

    Raises:
        UserError: the weights are not a language model with GPT-2's vocabulary and a
            tied head, have other sizes than those that `config` does not leave at
            their defaults, or fewer positions than a sequence has tokens.
    """
    if not config.weights:
        return config, None
    found, params = load_pretrained(config.weights)
    sizes = {name: getattr(found, name) for name in SIZES}
    sizes["positions"] = found.max_len
    for name, size in sizes.items():
        if getattr(config, name) not in (getattr(PretrainConfig, name), size):
            raise UserError(
                f"--weights {config.weights}: has {name} {size}, not the "
                f"{getattr(config, name)} that was given"
            )
    try:
        config = dataclasses.replace(config, **sizes)
    except ValueError as error:
        raise UserError(f"--weights {config.weights}: {error}") from None
    if dataclasses.replace(found, dtype=config.dtype) != config.model:
        raise UserError(
            f"--weights {config.weights}: expected a language model with GPT-2's "
            f"{config.model.vocab_size:,} tokens and a tied head, got {found}"
        )
    return config, params


def init_state(config: PretrainConfig, params: Params | None = None) -> TrainState:
    """Return step 0 of `params`, or of GPT-2's initialisation.

    There the residual projections are scaled by 1/sqrt(N), for N residual layers
    (Radford et al. 2019, section 2.3).
    """
    model = GPT2(config.model)
    if params is not None:
        return create_train_state(model, params, create_optimizer(config))
    tokens = jnp.zeros((1, 1), jnp.int32)
    random = jax.jit(model.init)(jax.random.key(config.seed), tokens)["params"]
    scale = 1 / math.sqrt(2 * config.num_layers)
    scaled = {
        path: leaf * scale if path.endswith("c_proj/kernel") else leaf
        for path, leaf in flatten(random).items()
    }
    return create_train_state(model, unflatten(scaled), create_optimizer(config))


def create_schedule(config: PretrainConfig, peak: float) -> optax.Schedule:
    """Return the rate by step: linear warm-up, `hold`, then the decay to zero."""
    start = max(round(config.hold * config.steps), config.warmup_steps)
    length = max(config.steps - start, 1)
    decay = (
        optax.cosine_decay_schedule(peak, length)
        if config.decay == "cosine"
        else optax.linear_schedule(peak, 0.0, length)
    )
    warmup = optax.linear_schedule(0.0, peak, max(config.warmup_steps, 1))
    hold = optax.constant_schedule(peak)
    return optax.join_schedules([warmup, hold, decay], [config.warmup_steps, start])


def create_optimizer(config: PretrainConfig) -> optax.GradientTransformation:
    """Return AdamW; or Muon on the blocks' matrices, and AdamW on the rest.

    Only matrices decay.
    """
    rate = create_schedule(config, config.learning_rate)
    if config.optimizer == "adamw":
        main = optax.adamw(
            rate, b2=0.95, weight_decay=config.weight_decay, mask=_matrices
        )
    else:
        main = optax.contrib.muon(
            create_schedule(config, config.muon_learning_rate),
            beta=0.95,
            weight_decay=config.weight_decay,
            adam_b2=0.95,
            adam_learning_rate=rate,
            muon_weight_dimension_numbers=_block_matrices,
        )
    if not config.clip_norm:
        return main
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), main)


def _matrices(params: Params) -> Params:
    return jax.tree.map(lambda leaf: leaf.ndim == 2, params)


def _block_matrices(params: optax.Params) -> optax.Params:
    matrix = re.compile(r"h_\d+/.*/kernel")
    return unflatten(
        {
            path: optax.contrib.MuonDimensionNumbers()
            if matrix.fullmatch(path)
            else None
            for path in flatten(cast(Params, params))
        }
    )
