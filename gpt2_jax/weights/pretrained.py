"""A name or a path -> the config and the params of a pretrained GPT-2."""

from __future__ import annotations

import dataclasses
import importlib.resources
import re
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax import config as configs
from gpt2_jax.config import PRESETS, GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.tree import Params
from gpt2_jax.weights import files, hub, orbax_folder
from gpt2_jax.weights.convert import StateDict, convert_state_dict
from gpt2_jax.weights.names import detect_naming

MINI_SHA256 = "d650757d55552f020e9e3507cf2fc521b160eca8dcbe6db9fec0221d681a701a"

# Fields of a Hugging Face config.json that must hold for our model to be that model.
_REQUIRED_FIELDS = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
}
_SIZE_FIELDS = {
    "vocab_size": "vocab_size",
    "max_len": "n_positions",
    "embed_dim": "n_embd",
    "num_layers": "n_layer",
    "num_heads": "n_head",
}


def load_pretrained(
    name_or_path: str | Path, *, num_heads: int | None = None, offline: bool = False
) -> tuple[GPT2Config, Params]:
    """Return the config and the float32 params (numpy) of a pretrained GPT-2.

    Args:
        name_or_path: "mini" (shipped with this package), the size of a released GPT-2
            such as "124M" (cached or downloaded), a Hugging Face folder (sharded or
            not), an orbax folder that `gpt2-jax convert` wrote, or a `.safetensors`
            file with Hugging Face or LLMs-from-scratch names.
        num_heads: only for files of unusual size that no config.json describes.
        offline: forbid the network.

    Raises:
        WeightsError: nothing found there, a format or an architecture that is not
            GPT-2's, or tensors that do not fit.
    """
    if str(name_or_path) == "mini":
        return _load_mini()
    path = Path(name_or_path)
    if str(name_or_path) in PRESETS and not path.exists():
        return _load_released(str(name_or_path), offline=offline)
    if orbax_folder.is_one(path):
        return orbax_folder.read(path)
    state = files.read_state_dict(path)
    folder = path if path.is_dir() else path.parent
    try:
        naming, prefix = detect_naming(state)
        sizes = _sizes(state, prefix)
        if naming.title == "Hugging Face" and (folder / "config.json").is_file():
            config = _from_hugging_face(files.read_json(folder / "config.json"))
        else:
            config = _from_sizes(sizes, num_heads)
        config = dataclasses.replace(config, tied=_is_tied(state, prefix))
        return config, convert_state_dict(state, config)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _load_released(name: str, *, offline: bool) -> tuple[GPT2Config, Params]:
    path = hub.find(name, offline=offline)
    config, params = load_pretrained(path, num_heads=PRESETS[name].num_heads)
    if config != PRESETS[name]:
        raise WeightsError(f"{path}: expected {PRESETS[name]}, got {config}")
    return config, params


def _load_mini() -> tuple[GPT2Config, Params]:
    asset = importlib.resources.files("gpt2_jax") / "assets" / "gpt2-mini"
    with importlib.resources.as_file(asset) as folder:
        file = folder / files.SINGLE
        if not file.is_file() or files.sha256_of(file) != MINI_SHA256:
            raise WeightsError(
                f"{file}: the shipped base model is damaged (its SHA-256 is not "
                f"{MINI_SHA256}); install gpt2-jax again"
            )
        return PRESETS["mini"], convert_state_dict(
            files.read_state_dict(folder), PRESETS["mini"]
        )


def _sizes(state: StateDict, prefix: str) -> dict[str, int]:
    """Read what the shapes tell: everything but the number of heads."""
    wte = _tensor(state, f"{prefix}wte.weight", "tok_emb.weight")
    wpe = _tensor(state, f"{prefix}wpe.weight", "pos_emb.weight")
    if wte.ndim != 2 or wpe.ndim != 2:
        raise WeightsError("token and position embeddings must have two axes")
    blocks = {
        int(match[1])
        for name in state
        if (match := re.match(r"(?:transformer\.)?(?:h|trf_blocks)\.(\d+)\.", name))
    }
    return {
        "vocab_size": wte.shape[0],
        "embed_dim": wte.shape[1],
        "max_len": wpe.shape[0],
        "num_layers": len(blocks),
    }


def _tensor(state: StateDict, *names: str) -> np.ndarray:
    for name in names:
        if name in state:
            return state[name]
    raise WeightsError(f"holds no {' or '.join(names)}")


def _from_sizes(sizes: dict[str, int], num_heads: int | None) -> GPT2Config:
    shape = sizes["embed_dim"], sizes["num_layers"]
    if num_heads is None:
        for preset in PRESETS.values():
            if (preset.embed_dim, preset.num_layers) == shape:
                num_heads = preset.num_heads
    if num_heads is None:
        raise WeightsError(
            f"{shape[1]} layers of width {shape[0]} are no released GPT-2, and no "
            "config.json tells the number of heads; give num_heads"
        )
    return dataclasses.replace(PRESETS["124M"], num_heads=num_heads, **sizes)


def _from_hugging_face(values: dict[str, Any]) -> GPT2Config:
    wrong = [
        f"{key}={values[key]!r} (expected {expected!r})"
        for key, expected in _REQUIRED_FIELDS.items()
        if key in values and values[key] != expected
    ]
    missing = [field for field in _SIZE_FIELDS.values() if field not in values]
    if values.get("n_inner") not in (None, 4 * values.get("n_embd", 0)):
        wrong.append(f"n_inner={values['n_inner']!r} (expected 4 * n_embd)")
    if wrong or missing:
        raise WeightsError(
            "config.json: not a plain GPT-2: "
            + "; ".join(wrong + [f"{field} is missing" for field in missing])
        )
    try:
        sizes = {ours: values[theirs] for ours, theirs in _SIZE_FIELDS.items()}
        return configs.from_dict(GPT2Config, sizes)
    except ValueError as error:
        raise WeightsError(f"config.json: {error}") from error


def _is_tied(state: StateDict, prefix: str) -> bool:
    heads = [n for n in ("lm_head.weight", "out_head.weight") if n in state]
    wte = _tensor(state, f"{prefix}wte.weight", "tok_emb.weight")
    return not heads or np.array_equal(state[heads[0]], wte)
