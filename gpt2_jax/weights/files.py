"""Weight files and folders -> {tensor name: array}, whatever their format."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.config import PRESETS
from gpt2_jax.errors import WeightsError, did_you_mean_path
from gpt2_jax.storage.sealed import SUMS, check_sums, read_json
from gpt2_jax.weights import flax_msgpack, formats, llm_c, pth, tensorflow_checkpoint
from gpt2_jax.weights import safetensors as safetensors_file

SINGLE = "model.safetensors"

INDEX = "model.safetensors.index.json"

TORCH_SINGLE = "pytorch_model.bin"

TORCH_INDEX = "pytorch_model.bin.index.json"

FLAX_SINGLE = "flax_model.msgpack"

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")

SUFFIXES = (".safetensors", *TORCH_SUFFIXES, flax_msgpack.SUFFIX)


ADAPTED = "weights"  # the folder in a run of `gpt2-jax adapt`


def adapted(path: Path) -> Path:
    """Return where the weights of a run of `gpt2-jax adapt` lie; of others `path`."""
    return path / ADAPTED if (path / ADAPTED / SUMS).is_file() else path


@dataclasses.dataclass(frozen=True)
class Contents:
    """The tensors of a file, and what stands beside them in it."""

    tensors: Mapping[str, np.ndarray]
    beside: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_contents(path: Path) -> Contents:
    """Read a file of weights, or a folder of them.

    A folder is Hugging Face's (one file or shards) or OpenAI's (TensorFlow).

    Raises:
        WeightsError: no such path, an unknown format, a damaged file, a shard that is
            missing or that does not hold what the index says.
    """
    path = Path(path)
    if not path.exists():
        meant = did_you_mean_path(path, PRESETS)
        raise WeightsError(f"{path}: no such file or folder{meant}")
    check_sums(path if path.is_dir() else path.parent)
    return _read_folder(path) if path.is_dir() else _read_file(path)


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read all tensors of a file or folder; see `read_contents`."""
    return dict(read_contents(path).tensors)


def _read_file(path: Path) -> Contents:
    try:
        if not path.is_file():
            raise WeightsError(f"{path}: no such file")
    except OSError as error:  # an index may name anything
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    if llm_c.is_one(path):
        return Contents(*llm_c.read(path))
    formats.refuse_other_file(path)
    if path.suffix == flax_msgpack.SUFFIX:
        return Contents(flax_msgpack.read(path))
    if path.suffix == ".safetensors":
        return Contents(safetensors_file.read(path))
    if path.suffix in TORCH_SUFFIXES:
        return Contents(*pth.read(path))
    raise WeightsError(
        f"{path}: unknown weight format; expected {', '.join(SUFFIXES)} or a folder"
    )


def _read_folder(folder: Path) -> Contents:
    for name in (SINGLE, TORCH_SINGLE):
        if (folder / name).is_file():
            return _read_file(folder / name)
        index = folder / {SINGLE: INDEX, TORCH_SINGLE: TORCH_INDEX}[name]
        if index.is_file():
            return Contents(_read_shards(index))
    if (folder / tensorflow_checkpoint.HPARAMS).is_file():
        return Contents(tensorflow_checkpoint.read(folder))
    if (folder / FLAX_SINGLE).is_file():
        return _read_file(folder / FLAX_SINGLE)
    formats.refuse_other_folder(folder)
    if (folder / "results.json").is_file():
        raise WeightsError(
            f"{folder}: a run whose model is gone, as a sweep's --keep-models removes "
            "it; run its config.json again: gpt2-jax finetune --config "
            f"{folder / 'config.json'}"
        )
    raise WeightsError(
        f"{folder}: no weights and no run of gpt2-jax: holds neither {SINGLE} "
        f"nor {INDEX}, {TORCH_SINGLE}, {TORCH_INDEX} or {tensorflow_checkpoint.HPARAMS}"
    )


def shards_of(index: Path) -> list[str]:
    """Return the names of the files that an index of shards lists.

    Raises:
        WeightsError: it is no such index.
    """
    return sorted(set(_weight_map(index).values()))


def _weight_map(index: Path) -> Mapping[str, str]:
    where = read_json(index).get("weight_map")
    if not isinstance(where, Mapping) or not where:
        raise WeightsError(f"{index}: expected a weight_map of tensors")
    for shard in where.values():
        if (
            not isinstance(shard, str)
            or shard in ("", "..")
            or Path(shard).name != shard
        ):
            raise WeightsError(f"{index}: {shard!r} is not a plain file name")
    return where


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    folder, where = index.parent, _weight_map(index)
    state: dict[str, np.ndarray] = {}
    for shard in shards_of(index):
        tensors = _read_file(folder / shard).tensors
        listed = {name for name, file in where.items() if file == shard}
        if set(tensors) != listed:
            odd = sorted(set(tensors) ^ listed)
            raise WeightsError(
                f"{folder / shard}: differs from the index in {', '.join(odd)}"
            )
        state |= tensors
    return state
