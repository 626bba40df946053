"""Params by path: the nested dict of flax as {"h_0/attn/c_attn/kernel": leaf}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax import traverse_util

Params = Mapping[str, Any]


def flatten(params: Params) -> dict[str, Any]:
    """Return {path: leaf} of a param pytree."""
    return dict(traverse_util.flatten_dict(dict(params), sep="/"))


def unflatten(flat: Mapping[str, Any]) -> Params:
    """Return the param pytree of {path: leaf}."""
    return traverse_util.unflatten_dict(dict(flat), sep="/")


def split_params(params: Params, num_layers: int, depth: int) -> tuple[Params, Params]:
    """Cut a tree of params, or of their labels: that of the trunk, and the rest.

    The trunk is that of `GPT2.trunk`; one of no blocks has no params of its own.
    """
    names = set()
    if depth:
        names = {"wte", "wpe", *(f"h_{i}" for i in range(min(depth, num_layers)))}
    if depth > num_layers:
        names.add("ln_f")
    return (
        {name: leaf for name, leaf in params.items() if name in names},
        {name: leaf for name, leaf in params.items() if name not in names},
    )
