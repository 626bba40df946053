"""What trains, and how: labels per leaf, schedule, optax.multi_transform."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jax
import optax

from gpt2_jax.config import TrainConfig
from gpt2_jax.tree import Params, flatten, unflatten

TRAIN, FREEZE = "train", "freeze"


def trainable_patterns(names: Sequence[str], num_layers: int) -> tuple[str, ...]:
    """Return the regexes over parameter paths that `--trainable` stands for."""
    if len(names) > 1:
        return tuple(names)
    last, before = num_layers - 1, max(num_layers - 2, 0)
    head = (r"ln_f/.*", r"out_head/.*")
    return {
        "head": (r"out_head/.*",),
        "last_block": (rf"h_{last}/.*", *head),
        "last_two_blocks": (rf"h_({before}|{last})/.*", *head),
        "all": (r".*",),
        "lora": (r".*/lora_[ab]", r"out_head/.*"),
    }.get(names[0], tuple(names))


def label_params(
    params: Params, trainable: str | Sequence[str], num_layers: int
) -> Params:
    """Label every leaf of `params` "train" or "freeze".

    Args:
        trainable: a name of `config.TRAINABLE`, or regexes that must match whole
            paths such as `h_11/attn/c_attn/kernel`.

    Raises:
        ValueError: a pattern is no regex or matches no parameter.
    """
    names = (trainable,) if isinstance(trainable, str) else tuple(trainable)
    patterns = trainable_patterns(names, num_layers)
    paths = list(flatten(params))
    unused = []
    for pattern in patterns:
        try:
            hit = any(re.fullmatch(pattern, path) for path in paths)
        except re.error as error:
            raise ValueError(f"trainable: {pattern!r} is no regex ({error})") from None
        if not hit:
            unused.append(pattern)
    if unused:
        raise ValueError(
            f"trainable patterns match no parameter: {', '.join(unused)}; paths look "
            f"like {paths[-1]} or h_0/attn/c_attn/kernel"
        )
    return unflatten(
        {
            path: TRAIN if any(re.fullmatch(p, path) for p in patterns) else FREEZE
            for path in paths
        }
    )


def frozen_split(labels: Params, num_layers: int) -> int:
    """Return the split of the model below which nothing trains; see `model.GPT2`.

    That many blocks are a constant; one more than there are where the final norm is
    one too; 0 when an embedding trains.
    """
    trained = [path for path, label in flatten(labels).items() if label == TRAIN]
    if any(path.startswith(("wte/", "wpe/")) for path in trained):
        return 0
    blocks = [int(m[1]) for path in trained if (m := re.match(r"h_(\d+)/", path))]
    norm = any(path.startswith("ln_f/") for path in trained)
    return min(blocks, default=num_layers if norm else num_layers + 1)


def create_schedule(config: TrainConfig, total_steps: int) -> optax.Schedule:
    """Return the learning rate by step: linear warm-up, then the schedule to zero."""
    rate, warmup_steps = config.learning_rate, config.warmup_steps
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
    config: TrainConfig, labels: Params, total_steps: int
) -> optax.GradientTransformation:
    """Return AdamW on the leaves labelled "train"; the others get zero updates.

    Decay is on every trained leaf and epsilon 1e-8, as torch.optim.AdamW. Clipping
    stays inside the trained part: outside, its norm would need the frozen gradients.
    """
    adamw = optax.adamw(
        create_schedule(config, total_steps), weight_decay=config.weight_decay
    )
    if config.clip_norm is not None:
        adamw = optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw)
    return optax.multi_transform({TRAIN: adamw, FREEZE: optax.set_to_zero()}, labels)


def stop_frozen_gradients(params: Params, labels: Params) -> Params:
    """Make the frozen leaves constants, so that no gradient of them is computed."""
    return jax.tree.map(
        lambda leaf, label: leaf if label == TRAIN else jax.lax.stop_gradient(leaf),
        params,
        labels,
    )
