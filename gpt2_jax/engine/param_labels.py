"""Which parameters train: one label per leaf, and what follows from the labels."""

from __future__ import annotations

import re
import typing
from collections.abc import Sequence

import jax

from gpt2_jax.config.train import Scope
from gpt2_jax.errors import did_you_mean
from gpt2_jax.model.tree import Params, flatten, unflatten

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
            f"{did_you_mean(unused[0], typing.get_args(Scope))}"
        )
    return unflatten(
        {
            path: TRAIN if any(re.fullmatch(p, path) for p in patterns) else FREEZE
            for path in paths
        }
    )


def trunk_depth(param_labels: Params, num_layers: int) -> int:
    """Return how deep the frozen trunk is: nothing in it trains; see `GPT2.trunk`.

    So many blocks are a constant; one more than there are where the final norm is one
    too; 0 where an embedding trains.
    """
    trained = [path for path, label in flatten(param_labels).items() if label == TRAIN]
    if any(path.startswith(("wte/", "wpe/")) for path in trained):
        return 0
    blocks = [int(m[1]) for path in trained if (m := re.match(r"h_(\d+)/", path))]
    norm = any(path.startswith("ln_f/") for path in trained)
    return min(blocks, default=num_layers if norm else num_layers + 1)


def stop_frozen_gradients(params: Params, param_labels: Params) -> Params:
    """Make the frozen leaves constants, so that no gradient of them is computed."""
    return jax.tree.map(
        lambda leaf, label: leaf if label == TRAIN else jax.lax.stop_gradient(leaf),
        params,
        param_labels,
    )


def trained_leaves(params: Params, param_labels: Params) -> Params:
    """Return the subtree of `params` that trains."""
    flat_labels = flatten(param_labels)
    return unflatten(
        {
            path: leaf
            for path, leaf in flatten(params).items()
            if flat_labels[path] == TRAIN
        }
    )


def merge_leaves(params: Params, leaves: Params) -> Params:
    """Return `params` with `leaves` in their places."""
    return unflatten(flatten(params) | flatten(leaves))
