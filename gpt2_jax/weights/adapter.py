"""The LoRA adapters of peft, added into the model that they were trained on.

A folder holds what was trained; adapter_config.json names the base model.
Source: peft, `LoraLayer.get_delta_weight`: the kernel [out, in] gets
`B A * alpha / r` (Hu et al. 2021), by rsLoRA `alpha / sqrt(r)` (Kalajdzievski 2023).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.errors import WeightsError
from gpt2_jax.storage.sealed import read_json
from gpt2_jax.weights import pth, safetensors
from gpt2_jax.weights.detect import StateDict

CONFIG = "adapter_config.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")

_PREFIX, _TRUNK = "base_model.model.", "transformer."
_OF_TRUNK = re.compile(r"(h|ln_f|wpe|wte)\..+")
_HEADS = ("lm_head.weight", "score.weight")
_LORA = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")

# How adapters may begin; any other way changes the base that they are trained on.
_INITS = (True, False, None, "gaussian", "orthogonal", "eva")

# What peft puts into the names of layers that it wraps.
_WRAPPED = re.compile(r"\.(base_layer|modules_to_save(\.default)?)(?=\.)")

_MERGE = "merge it with peft: model.merge_and_unload().save_pretrained(folder)"


@dataclasses.dataclass(frozen=True)
class Adapter:
    """What peft keeps of a trained model."""

    base: str  # a path, or an id on the hub
    config: Mapping[str, Any]
    tensors: StateDict


def is_one(folder: Path) -> bool:
    """Is it a folder of peft?"""
    return (folder / CONFIG).is_file()


def read(folder: Path) -> Adapter:
    """Read a folder of peft.

    Raises:
        WeightsError: it holds another kind of adapter than LoRA, or is damaged.
    """
    config = read_json(folder / CONFIG)
    kind, base = config.get("peft_type"), config.get("base_model_name_or_path")
    odd = [
        key
        for key in ("use_dora", "use_qalora", "alora_invocation_tokens", "lora_bias")
        if config.get(key)
    ]
    if (way := config.get("init_lora_weights", True)) not in _INITS:
        odd.append(f"init_lora_weights={way!r}")
    if kind != "LORA" or odd:
        what = " with ".join([f"peft_type={kind!r}", *odd])
        raise WeightsError(f"{folder}: an adapter of peft, {what}; {_MERGE}")
    if not isinstance(base, str) or not base:
        raise WeightsError(
            f"{folder / CONFIG}: names no base model; write its folder or id as "
            "base_model_name_or_path"
        )
    single, pickled = (folder / name for name in FILES)
    if single.is_file():
        return Adapter(base, config, safetensors.read(single))
    if pickled.is_file():
        return Adapter(base, config, pth.read(pickled)[0])
    raise WeightsError(f"{folder}: an adapter of peft without {' or '.join(FILES)}")


def merge(state: StateDict, adapter: Adapter) -> dict[str, np.ndarray]:
    """Return the base's tensors with the adapters in them, in float32 where changed.

    What peft saved whole (`modules_to_save`, biases) takes the base's place.

    Raises:
        WeightsError: a tensor of the adapter fits none of the base.
    """
    # A base of the trunk alone has no prefix; the adapter has that of its own class.
    prefix = _TRUNK if any(name.startswith(_TRUNK) for name in state) else ""
    merged = dict(state)
    for full, value in adapter.tensors.items():
        name = full.removeprefix(_PREFIX).removeprefix(_TRUNK)
        if _OF_TRUNK.fullmatch(name):
            name = prefix + name
        found = _LORA.fullmatch(name)
        if found is None:
            if re.search(r"lora_|trainable_tokens", name):
                raise WeightsError(f"{full} is not supported; {_MERGE}")
            merged[_WRAPPED.sub("", name)] = value
        elif found[2] == "A":
            other = adapter.tensors.get(full.replace(".lora_A.", ".lora_B."))
            _add(merged, found[1], value, other, adapter.config)
    before, now = (each.get(f"{prefix}wte.weight") for each in (state, merged))
    if before is not None and now is not before and not merged.keys() & set(_HEADS):
        merged[_HEADS[0]] = before  # peft changes the embedding and not the head
    return merged


def _add(
    state: dict[str, np.ndarray],
    layer: str,
    a: np.ndarray,
    b: np.ndarray | None,
    config: Mapping[str, Any],
) -> None:
    name = f"{layer}.weight"
    try:
        if b is None:
            raise ValueError("its lora_B is missing")
        kernel = state[name].astype(np.float32)
        change = b.astype(np.float32) @ a.astype(np.float32)  # [out, in]
        if _is_conv1d(name):
            change = change.T
        if change.shape != kernel.shape:
            raise ValueError(f"{list(change.shape)} for {list(kernel.shape)}")
        state[name] = kernel + _scale(layer, len(a), config) * change
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(
            f"the adapter of {layer} does not fit the base {config.get(_BASE)!r} "
            f"({error})"
        ) from error


_BASE = "base_model_name_or_path"


def _is_conv1d(name: str) -> bool:
    """Does Hugging Face's GPT-2 keep it as [in, out]?"""
    return re.fullmatch(r".*\.(c_attn|c_proj|c_fc)\.weight", name) is not None


def _scale(layer: str, rank: int, config: Mapping[str, Any]) -> float:
    alpha = config["lora_alpha"]
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", layer):
            alpha = value
            break
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
