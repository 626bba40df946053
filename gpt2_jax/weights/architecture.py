"""What model the tensors are: told by what lies beside them, or by their shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from gpt2_jax import config as configs
from gpt2_jax.config import PRESETS, GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.storage.sealed import read_json
from gpt2_jax.weights.detect import StateDict
from gpt2_jax.weights.files import Contents
from gpt2_jax.weights.hugging_face_config import CONFIG, is_hugging_face
from gpt2_jax.weights.inert import Inert
from gpt2_jax.weights.naming import Naming
from gpt2_jax.weights.rules import FLAX, HUGGING_FACE, MINGPT, NANOGPT, OPENAI
from gpt2_jax.weights.tensorflow_checkpoint import HPARAMS

# What stands beside the tensors: of nanoGPT, and of build-nanogpt.
MODEL_ARGS, _SETTINGS = "model_args", "config"


# Fields of a Hugging Face config.json that must hold for our model to be that model.
# Its reorder_and_upcast_attn changes nothing: our scores always are float32.
_REQUIRED_FIELDS = {"model_type": "gpt2", "add_cross_attention": False}


# Theirs -> ours, where they call one function by several names.
_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new"}


# Ours -> theirs.
_HUGGING_FACE_SIZES = {
    "vocab_size": "vocab_size",
    "max_len": "n_positions",
    "embed_dim": "n_embd",
    "num_layers": "n_layer",
    "num_heads": "n_head",
}

_NANOGPT_SIZES = _HUGGING_FACE_SIZES | {"max_len": "block_size"}

_OPENAI_SIZES = _HUGGING_FACE_SIZES | {"vocab_size": "n_vocab", "max_len": "n_ctx"}


def hint_of(contents: Contents, folder: Path) -> str | None:
    """Tell whose the tensors are by what stands beside them."""
    if contents.beside.keys() & {MODEL_ARGS, "iter_num"}:
        return NANOGPT.key
    if _settings(contents) is not None:
        return MINGPT.key
    return HUGGING_FACE.key if is_hugging_face(folder) else None


def _settings(contents: Contents) -> Mapping[str, Any] | None:
    """Return the fields of the GPTConfig that build-nanogpt lays beside a model."""
    beside = contents.beside.get(_SETTINGS)
    fields = beside.state if isinstance(beside, Inert) else None
    found = isinstance(fields, Mapping) and "block_size" in fields
    return fields if found else None


def config_of(
    contents: Contents, naming: Naming, prefix: str, folder: Path, num_heads: int | None
) -> GPT2Config:
    """Return the config of the model that the tensors are.

    Hugging Face's config.json, nanoGPT's model_args, build-nanogpt's config and
    OpenAI's hparams.json tell it; else the shapes do, with `num_heads` where the size
    is of no released GPT-2.

    Raises:
        WeightsError: it is no plain GPT-2, or not told, or the tensors are of another.
    """
    state = contents.tensors
    sizes = _sizes(state, naming, prefix)
    where = "num_heads"
    values = contents.beside.get(MODEL_ARGS) or _settings(contents)
    if naming in (HUGGING_FACE, FLAX) and (folder / CONFIG).is_file():
        where, values = CONFIG, read_json(folder / CONFIG)
        config = _from_hugging_face(values)
    elif naming is OPENAI and (folder / HPARAMS).is_file():
        where = HPARAMS
        config = _from_fields(read_json(folder / HPARAMS), _OPENAI_SIZES, where)
    elif isinstance(values, Mapping):
        where = MODEL_ARGS if MODEL_ARGS in contents.beside else _SETTINGS
        config = _from_fields(values, _NANOGPT_SIZES, where)
    else:
        config = _from_sizes(sizes, num_heads)
    told, found = _size_of(dataclasses.asdict(config)), _size_of(sizes)
    if told != found:
        raise WeightsError(f"the tensors are {found}, but {where} says {told}")
    try:
        if where != CONFIG:
            config = dataclasses.replace(config, activation=naming.activation)
        return dataclasses.replace(config, **_head(state, naming, prefix))
    except ValueError as error:
        raise WeightsError(str(error)) from error


def _head(state: StateDict, naming: Naming, prefix: str) -> dict[str, Any]:
    """Return the fields of the config that the head decides."""
    if naming.classifier is not None and naming.classifier in state:
        return {"num_classes": len(state[naming.classifier]), "pool": naming.pool}
    wte = state[prefix + naming.tensor_of("wte/embedding")]
    heads = [
        state[rule.tensor] if rule.transpose else state[rule.tensor].T
        for rule in naming.rules
        if rule.path == "out_head/kernel" and rule.tensor in state
    ]
    return {"tied": all(np.array_equal(head, wte) for head in heads)}


def _sizes(state: StateDict, naming: Naming, prefix: str) -> dict[str, int]:
    """Read what the shapes tell: everything but the number of heads."""
    embeddings = []
    for path in ("wte/embedding", "wpe/embedding"):
        name = prefix + naming.tensor_of(path)
        if name not in state:
            raise WeightsError(
                f"holds no {name}: another model, whose layers have the names of "
                f"{naming.title}; only GPT-2 is read"
            )
        if state[name].ndim != 2:
            raise WeightsError("token and position embeddings must have two axes")
        if not state[name].size:
            raise WeightsError(f"{name} is empty: {list(state[name].shape)}")
        embeddings.append(state[name])
    wte, wpe = embeddings
    blocks = {naming.block_of(name.removeprefix(prefix)) for name in state} - {None}
    return {
        "vocab_size": wte.shape[0],
        "embed_dim": wte.shape[1],
        "max_len": wpe.shape[0],
        "num_layers": len(blocks),
    }


def _size_of(sizes: Mapping[str, int]) -> str:
    size = sizes["embed_dim"], sizes["num_layers"]
    names = [n for n, p in PRESETS.items() if (p.embed_dim, p.num_layers) == size]
    name = f" ({names[0]})" if names else ""
    return f"{size[1]} layers of width {size[0]}{name}"


def _from_sizes(sizes: dict[str, int], num_heads: int | None) -> GPT2Config:
    if num_heads is None:
        for preset in PRESETS.values():
            if _size_of(dataclasses.asdict(preset)) == _size_of(sizes):
                num_heads = preset.num_heads
    if num_heads is None:
        raise WeightsError(
            f"{_size_of(sizes)} are no released GPT-2, and no {CONFIG} tells the "
            "number of heads; give num_heads"
        )
    try:
        return dataclasses.replace(PRESETS["124M"], num_heads=num_heads, **sizes)
    except ValueError as error:
        raise WeightsError(str(error)) from error


def _from_hugging_face(values: Mapping[str, Any]) -> GPT2Config:
    wrong = [
        f"{key}={values[key]!r} (expected {expected!r})"
        for key, expected in _REQUIRED_FIELDS.items()
        if key in values and values[key] != expected
    ]
    own: dict[str, Any] = {
        "activation": values.get("activation_function", "gelu_new"),
        "layer_norm_epsilon": values.get("layer_norm_epsilon", 1e-5),
        "inner_dim": values.get("n_inner"),
    }
    own["activation"] = _ACTIVATIONS.get(str(own["activation"]), own["activation"])
    if type(width := values.get("n_embd")) is int and own["inner_dim"] == 4 * width:
        own["inner_dim"] = None
    return _from_fields(values, _HUGGING_FACE_SIZES, CONFIG, wrong, own)


def _from_fields(
    values: Mapping[str, Any],
    fields: Mapping[str, str],
    where: str,
    wrong: Sequence[str] = (),
    own: Mapping[str, Any] = MappingProxyType({}),
) -> GPT2Config:
    missing = [f"{name} is missing" for name in fields.values() if name not in values]
    if wrong or missing:
        raise WeightsError(
            f"{where}: not a plain GPT-2: " + "; ".join([*wrong, *missing])
        )
    try:
        sizes = {ours: values[theirs] for ours, theirs in fields.items()}
        return configs.from_dict(GPT2Config, {**sizes, **own})
    except ValueError as error:
        raise WeightsError(f"{where}: {error}") from error
