"""The language model's pure steps, its optimizer, and both on a mesh of devices.

Shapes: `B` sequences, `T` tokens, `M` parts of a batch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from experiments.pretrain.config import PretrainConfig
from gpt2_jax import GPT2, load_pretrained
from gpt2_jax.engine.jit import AXIS, by_example, replicated
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


def window_losses(params: Params, windows: Array, *, model: GPT2) -> Array:
    """Return the mean cross-entropy [B] of the tokens that follow in `windows`
    [B, T + 1].
    """
    logits = cast(Array, model.apply({"params": params}, windows[:, :-1]))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:])
    return losses.mean(axis=1)


def train_step(
    state: TrainState,
    windows: Array,
    *,
    model: GPT2,
    accumulate: int = 1,
    axis_name: str | None = None,
) -> tuple[TrainState, Array]:
    """Take a step on the mean loss of `windows` [B, T + 1]; return it too.

    Gradients of `accumulate` parts are added up before it, which bounds the memory;
    and over `axis_name`, where B are those of one device.
    """

    def loss_fn(params: Params, part: Array) -> Array:
        return window_losses(params, part, model=model).mean()

    def add(total: Any, part: Array) -> tuple[Any, None]:
        found = jax.value_and_grad(loss_fn)(state.params, part)
        return jax.tree.map(jnp.add, total, found), None

    parts = windows.reshape(accumulate, -1, windows.shape[1])  # [M, B/M, T + 1]
    zero = jax.tree.map(jnp.zeros_like, (jnp.float32(0), state.params))
    total, _ = jax.lax.scan(add, zero, parts)
    loss, grads = jax.tree.map(lambda leaf: leaf / accumulate, total)
    if axis_name is not None:
        loss, grads = jax.lax.pmean((loss, grads), axis_name)
    return state.apply_gradients(grads=grads), loss


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled steps, and how host values reach them."""

    train: Callable[[TrainState, Array], tuple[TrainState, Array]]
    losses: Callable[[Params, Array], Array]  # of windows [B, T + 1]: [B]
    place: Callable[[Any], Any]  # of a state, on all devices
    cut: Callable[[np.ndarray], Array]  # of windows, over the devices


def compile_programs(model: GPT2, mesh: Mesh, accumulate: int) -> Programs:
    train = functools.partial(train_step, model=model, accumulate=accumulate)
    losses = functools.partial(window_losses, model=model)
    whole, cut = replicated(mesh), by_example(mesh, 0)
    if mesh.size > 1:
        # check_vma off: on, it would add up the gradients as well, and so twice.
        over = functools.partial(jax.shard_map, mesh=mesh, check_vma=False)
        none = PartitionSpec()
        train = over(
            functools.partial(train, axis_name=AXIS),
            in_specs=(none, cut.spec),
            out_specs=(none, none),
        )
        losses = over(losses, in_specs=(none, cut.spec), out_specs=cut.spec)
    return Programs(
        train=jax.jit(train, donate_argnums=0, out_shardings=(whole, whole)),
        losses=jax.jit(losses, out_shardings=whole),
        place=lambda tree: jax.tree.map(
            lambda leaf: jax.device_put(np.array(leaf), whole), tree
        ),
        cut=lambda windows: jax.device_put(windows, cut),
    )
