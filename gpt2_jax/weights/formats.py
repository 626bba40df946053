"""What is often found in the place of weights, by name and with the way out of it."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from pathlib import Path

from gpt2_jax.errors import WeightsError

_BY_NAME = "write its tensors as safetensors, named as in Hugging Face's GPT-2"
_WITH_TF = (
    "write it again with transformers 4: "
    "GPT2LMHeadModel.from_pretrained(folder, from_tf=True).save_pretrained(new_folder)"
)
_TENSORS_ALONE = "write its tensors as safetensors"
_ORIGINAL = "use the weights that it was made of"
_MERGE = "merge them with peft: model.merge_and_unload().save_pretrained(folder)"
_PLAIN = "write them again in float32 or bfloat16"

# How a file begins: what it is, and the way.
_HEADS: Mapping[bytes, tuple[str, str]] = types.MappingProxyType(
    {
        b"version https://git-lfs": (
            "a Git LFS pointer, not the weights",
            "run git lfs pull there",
        ),
        b"GGUF": ("a GGUF file", _ORIGINAL),
        **dict.fromkeys((b"lmgg", b"fmgg", b"tjgg"), ("a GGML file", _ORIGINAL)),
        (20240520).to_bytes(4, "little"): ("a data file of llm.c", _ORIGINAL),
    }
)

# What a file is called: what it is, and the way.
_NAMES: Mapping[str, tuple[str, str]] = types.MappingProxyType(
    {
        r"adapter_model\.\w+": (
            "PEFT adapters",
            "give their folder, with its adapter_config.json",
        ),
        r".*\.gguf": ("a GGUF file", _ORIGINAL),
        r".*\.onnx": ("an ONNX graph", _ORIGINAL),
        r".*\.keras|.*\.weights\.h5|task\.json": ("a model of KerasHub", _BY_NAME),
        r".*\.h5": ("an HDF5 file of Keras", _WITH_TF),
        r".*\.ckpt\.(data-.*|index|meta)": (
            "a part of TensorFlow's checkpoint",
            "give its folder, with its hparams.json",
        ),
        r".*\.(npz|npy)": ("arrays of numpy", "write them as safetensors"),
        r".*\.pt2": ("a program of torch.export", _TENSORS_ALONE),
        r".*\.(pkl|pickle|joblib)": ("a pickle, which is never run", _TENSORS_ALONE),
        r".*\.(tflite|mlmodel|mlpackage|engine|ot|pdparams)|openvino_model\..*": (
            "weights for another runtime",
            _ORIGINAL,
        ),
        r".*\.(zip|tar|t?gz|bz2|xz|zst|7z)": ("an archive", "unpack it"),
        r"flax_model\.msgpack\.index\.json|flax_model-\d+-of-\d+\.msgpack": (
            "a flax model in shards",
            "write it again with transformers 4, with max_shard_size='100GB'",
        ),
        r"saved_model\.pb": ("a SavedModel of TensorFlow", _WITH_TF),
        r"_METADATA|_CHECKPOINT_METADATA|manifest\.ocdbt": (
            "an orbax checkpoint of another program",
            _BY_NAME,
        ),
        r".*\.distcp|mp_rank_\d+_model_states\.pt|zero_to_fp32\.py": (
            "parts of a distributed checkpoint",
            "put them together: torch.distributed.checkpoint.format_utils, or "
            "zero_to_fp32.py of DeepSpeed",
        ),
        r"checkpoint-\d+": (
            "a folder of transformers' Trainer without a final model",
            "give one of its checkpoint folders",
        ),
        r"snapshots": ("a folder of the hub's cache", "give one of its snapshots"),
    }
)

# How a tensor is called: what the file is, and the way.
_TENSORS: Mapping[str, tuple[str, str]] = types.MappingProxyType(
    {
        r".*\.lora_[AB]\..*|.*\.base_layer\.weight": ("PEFT adapters", _MERGE),
        r".*\.(qweight|W_q|SCB|scales|weight\.(absmax|quant_map|_data)"
        r"|weight_(packed|scale|scale_inv))": (
            "quantized weights",
            _PLAIN,
        ),
        r"(?i)tf_?gp_?t_?2.*|.*:0": ("weights of TensorFlow's models", _WITH_TF),
        r"blk\.\d+\..*": ("the tensors of a GGUF file", _ORIGINAL),
        r"(_?layers?|vars)/.*|.*/vars/\d+": ("a model of KerasHub", _BY_NAME),
    }
)


def refuse_other_tensors(names: Iterable[str]) -> None:
    """Raise WeightsError, with its name, if tensors are named as another program's."""
    for name in names:
        for pattern, (what, way) in _TENSORS.items():
            if re.fullmatch(pattern, name):
                raise WeightsError(f"{what} ({name}); {way}")


def refuse_other_file(path: Path) -> None:
    """Raise WeightsError, with its name, if a file is no weights that we read."""
    with path.open("rb") as file:
        head = file.read(512)
    for start, found in _HEADS.items():
        if head.startswith(start):
            raise _refusal(path, *found)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html")):
        raise _refusal(path, "a web page, not the weights", "download the file itself")
    for pattern, found in _NAMES.items():
        if re.fullmatch(pattern, path.name):
            raise _refusal(path, *found)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        raise _refusal(path, "an HDF5 file of Keras", _WITH_TF)
    if path.suffix == ".json":
        raise _refusal(path, "what stands beside weights", "give their folder")


def refuse_other_folder(folder: Path) -> None:
    """Raise WeightsError, with its name, if a folder is of another program."""
    refuse_other_names(folder, [entry.name for entry in folder.iterdir()])


def refuse_other_names(where: str | Path, names: Iterable[str]) -> None:
    """Raise WeightsError, with its name, if files are called as another program's."""
    names = sorted(names)
    for pattern, (what, way) in _NAMES.items():
        for name in names:
            if re.fullmatch(pattern, name):
                raise _refusal(where, f"{what} ({name})", way)


def _refusal(path: str | Path, what: str, way: str) -> WeightsError:
    return WeightsError(f"{path}: {what}; {way}")
