"""A trained classifier as a run of ours keeps it, in `model/`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gpt2_jax import config as configs
from gpt2_jax.config import GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import Params, flatten, unflatten
from gpt2_jax.storage.atomic import replacing, write_json
from gpt2_jax.storage.sealed import (
    FILES,
    check_files,
    hash_files,
    read_sealed,
    sealed,
)
from gpt2_jax.tokenizer import Tokenizer, gpt2
from gpt2_jax.weights import files
from gpt2_jax.weights.safetensors import write_safetensors
from gpt2_jax.weights.tokenizer_folder import read_tokenizer, write_files


def save_model(folder: Path, trained: TrainedModel) -> None:
    """Write `params.safetensors`, and then `classifier.json` with its SHA-256.

    A tokenizer that is not GPT-2's comes beside them, in the files that it came in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    flat = {
        path: np.ascontiguousarray(leaf)
        for path, leaf in flatten(trained.params).items()
    }
    write_files(folder, trained.tokenizer)
    with replacing(folder / PARAMS_FILE) as path:
        write_safetensors(path, flat)
    write_json(
        folder / MODEL_FILE,
        sealed(
            {
                "config": configs.to_dict(trained.config),
                "classes": list(trained.classes),
                "max_length": trained.max_length,
                "temperature": trained.temperature,
                "threshold": trained.threshold
                and dataclasses.asdict(trained.threshold),
                "positive": trained.positive,
                FILES: hash_files(folder, only=(PARAMS_FILE, *trained.tokenizer.files)),
            }
        ),
    )


PARAMS_FILE, MODEL_FILE = "params.safetensors", "classifier.json"


@dataclasses.dataclass(frozen=True)
class Threshold:
    """From which probability on the class `positive` is the answer."""

    positive: str
    value: float


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """All that a classifier needs: `model/` of a run holds exactly this."""

    config: GPT2Config
    params: Params
    classes: tuple[str, ...]
    max_length: int
    temperature: float = 1.0  # of the softmax, fitted on the validation part
    threshold: Threshold | None = None  # None: the likeliest class is the answer
    positive: str | None = None  # whose precision is told; None: the second of two
    tokenizer: Tokenizer = dataclasses.field(default_factory=gpt2)


def model_folder(run: Path) -> Path | None:
    """Return `model/` of a run, or the folder itself if it is one; else None."""
    for folder in (run / "model", run):
        if (folder / MODEL_FILE).is_file():
            return folder
    return None


def load_model(run: Path) -> TrainedModel:
    """Read `model/` of a run, or such a folder itself.

    Raises:
        WeightsError: it is not there, damaged, or not what its config says.
    """
    folder = model_folder(run)
    if folder is None:
        raise WeightsError(
            f"{run}: no trained classifier (no {MODEL_FILE}); give the folder that "
            "gpt2-jax finetune wrote"
        )
    values = read_sealed(folder / MODEL_FILE)
    try:
        config = configs.from_dict(GPT2Config, values["config"])
        classes = tuple(str(name) for name in values["classes"])
        max_length = int(values["max_length"])
        if FILES not in values:  # earlier versions named the one file's hash
            values[FILES] = {PARAMS_FILE: values["params_sha256"]}
        # Models of the first versions have neither.
        temperature = float(values.get("temperature", 1.0))
        threshold = values.get("threshold")
        if threshold is not None:
            threshold = configs.from_dict(Threshold, threshold, "threshold")
            classes.index(threshold.positive)
        positive = values.get("positive")
        if positive is not None:
            classes.index(positive)
        if not (1 <= max_length <= config.max_len and 0 < temperature < math.inf):
            raise ValueError(f"max_length={max_length}, temperature={temperature}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WeightsError(f"{folder / MODEL_FILE}: {error}") from error
    path = folder / PARAMS_FILE
    check_files(folder, folder / MODEL_FILE, values[FILES], "train again")
    if PARAMS_FILE not in values[FILES]:
        raise WeightsError(f"{folder / MODEL_FILE}: has no hash of {PARAMS_FILE}")
    flat = files.read_state_dict(path)
    if not _fits(flat, config):
        raise WeightsError(f"{path}: its parameters are not those of {MODEL_FILE}")
    if len(classes) != config.num_classes:
        raise WeightsError(
            f"{folder / MODEL_FILE}: {len(classes)} classes, but {config.num_classes} "
            "logits"
        )
    tokenizer = read_tokenizer(folder, values[FILES]) or gpt2()
    return TrainedModel(
        config,
        unflatten(flat),
        classes,
        max_length,
        temperature,
        threshold,
        positive,
        tokenizer,
    )


def _fits(flat: Mapping[str, np.ndarray], config: GPT2Config) -> bool:
    """Are these the parameters of `config`, which may claim any size?"""
    if sum(leaf.size for leaf in flat.values()) < config.num_layers:
        return False  # its shapes would take for ever
    shapes = {name: leaf.shape for name, leaf in flatten(param_shapes(config)).items()}
    return {name: leaf.shape for name, leaf in flat.items()} == shapes
