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
