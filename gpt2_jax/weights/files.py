"""Weight files -> {tensor name: array}; the only place that knows file formats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  registers bfloat16 with numpy, which safetensors needs
import numpy as np
import safetensors
import safetensors.numpy

from gpt2_jax.errors import WeightsError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read all tensors of a `.safetensors` file or a Hugging Face folder.

    Raises:
        WeightsError: no such path, an unknown format, a damaged file, a shard that is
            missing or that does not hold what the index says.
    """
    path = Path(path)
    if not path.exists():
        raise WeightsError(f"{path}: no such file or folder")
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    raise WeightsError(f"{path}: unknown weight format; expected .safetensors")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_folder(folder: Path) -> dict[str, np.ndarray]:
    if (folder / SINGLE).is_file():
        return _read_safetensors(folder / SINGLE)
    if (folder / INDEX).is_file():
        return _read_shards(folder)
    raise WeightsError(f"{folder}: holds neither {SINGLE} nor {INDEX}")


def _read_shards(folder: Path) -> dict[str, np.ndarray]:
    where = read_json(folder / INDEX).get("weight_map")
    if not isinstance(where, Mapping) or not where:
        raise WeightsError(f"{folder / INDEX}: expected a weight_map of tensors")
    state: dict[str, np.ndarray] = {}
    for shard in where.values():
        if (
            not isinstance(shard, str)
            or shard in ("", "..")
            or Path(shard).name != shard
        ):
            raise WeightsError(f"{folder / INDEX}: {shard!r} is not a plain file name")
    for shard in sorted(set(where.values())):
        tensors = _read_safetensors(folder / shard)
        listed = {name for name, file in where.items() if file == shard}
        if set(tensors) != listed:
            odd = sorted(set(tensors) ^ listed)
            raise WeightsError(
                f"{folder / shard}: differs from the index in {', '.join(odd)}"
            )
        state |= tensors
    return state


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}); get it again"
        ) from error


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises:
        WeightsError: no such file, or not a JSON object.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path}: expected a JSON object")
    return values
