"""What trains, and how: labels per leaf, schedule, optax.multi_transform."""

from __future__ import annotations

import optax

from gpt2_jax.config import TrainConfig
from gpt2_jax.engine.param_labels import FREEZE, TRAIN
from gpt2_jax.model.tree import Params


def create_schedule(config: TrainConfig, total_steps: int) -> optax.Schedule:
    """Return the learning rate by step: linear warm-up, then the schedule to zero."""
    rate = config.learning_rate
    warmup_steps = config.warmup_steps
    if warmup_steps is None:
        warmup_steps = 0 if config.schedule == "constant" else total_steps // 20
    decay_steps = max(total_steps - warmup_steps, 1)
    after = {
        "constant": lambda: optax.constant_schedule(rate),
        "linear": lambda: optax.linear_schedule(rate, 0.0, decay_steps),
        "cosine": lambda: optax.cosine_decay_schedule(rate, decay_steps),
    }[config.schedule]()
    if not warmup_steps:
        return after
    warmup = optax.linear_schedule(0.0, rate, warmup_steps)
    return optax.join_schedules([warmup, after], [warmup_steps])


def create_optimizer(
    config: TrainConfig,
    param_labels: Params,
    total_steps: int,
    optimizer: optax.GradientTransformation | None = None,
) -> optax.GradientTransformation:
    """Return AdamW on the leaves labelled "train"; the others get zero updates.

    Decay is on every trained leaf and epsilon 1e-8, as torch.optim.AdamW. Clipping
    stays inside the trained part: outside, its norm would need the frozen gradients.
    `optimizer` takes the place of AdamW, its schedule and the clipping.
    """
    if optimizer is None:
        optimizer = optax.adamw(
            create_schedule(config, total_steps), weight_decay=config.weight_decay
        )
        if config.clip_norm is not None:
            clip = optax.clip_by_global_norm(config.clip_norm)
            optimizer = optax.chain(clip, optimizer)
    return optax.multi_transform(
        {TRAIN: optimizer, FREEZE: optax.set_to_zero()}, param_labels
    )
