"""What a Hugging Face config.json says beside the sizes of the model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from gpt2_jax.config import GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.storage.sealed import read_json

CONFIG = "config.json"

_FILE = re.compile(r"(pytorch_|flax_)?model(-\d+-of-\d+)?\.(safetensors|bin|msgpack)")


def is_hugging_face(folder: Path) -> bool:
    """Does a config.json of Hugging Face's GPT-2 lie here?"""
    path = folder / CONFIG
    return path.is_file() and "model_type" in read_json(path)


def refuse_other_model(path: Path) -> None:
    """Raise WeightsError, with its name, if what Hugging Face wrote is no GPT-2.

    A file in a folder counts where it has a name that transformers gives.
    """
    folder = path if path.is_dir() else path.parent
    if not is_hugging_face(folder) or not (path.is_dir() or _FILE.match(path.name)):
        return
    if (kind := read_json(folder / CONFIG)["model_type"]) != "gpt2":
        raise WeightsError(
            f"{CONFIG}: model_type={kind!r}: another model; only GPT-2 is read"
        )


def labels_of(folder: Path, num_classes: int) -> tuple[str, ...] | None:
    """Return the class names that a Hugging Face folder gives, None if there is none.

    Raises:
        WeightsError: they are not one for each class.
    """
    if not is_hugging_face(folder):
        return None
    indices = [str(index) for index in range(num_classes)]
    # transformers does not write its own default
    default = {index: f"LABEL_{index}" for index in indices}
    named = read_json(folder / CONFIG).get("id2label", default)
    if not isinstance(named, Mapping) or sorted(named) != sorted(indices):
        raise WeightsError(
            f"{CONFIG}: id2label does not name the {num_classes} classes of the head"
        )
    return tuple(str(named[index]) for index in indices)


def problem_type_of(folder: Path) -> str | None:
    """Return what a Hugging Face folder's classifier is trained for, if it is said."""
    if not is_hugging_face(folder):
        return None
    return read_json(folder / CONFIG).get("problem_type")


def pad_id_of(folder: Path) -> int | None:
    """Return the token that a Hugging Face folder's classifier takes for padding."""
    found = (
        read_json(folder / CONFIG).get("pad_token_id")
        if is_hugging_face(folder)
        else None
    )
    return found if type(found) is int else None


def attention_scale(folder: Path, config: GPT2Config) -> list[float] | None:
    """Return what the queries of each block are to be multiplied by; None: nothing.

    So a Hugging Face model that scales its attention scores otherwise becomes one that
    scales them as GPT-2 does.

    Raises:
        WeightsError: config.json is damaged.
    """
    if not is_hugging_face(folder):
        return None
    values = read_json(folder / CONFIG)
    scale = 1.0
    if not values.get("scale_attn_weights", True):
        scale = math.sqrt(config.head_dim)
    by_layer = bool(values.get("scale_attn_by_inverse_layer_idx", False))
    if scale == 1.0 and not by_layer:
        return None
    return [scale / (i + 1 if by_layer else 1) for i in range(config.num_layers)]
