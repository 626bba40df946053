"""A trained classifier as a run of ours keeps it, in `model/`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from gpt2_jax import config as configs
from gpt2_jax.config import LONGS, GPT2Config, Long
from gpt2_jax.errors import WeightsError
from gpt2_jax.lexical.linear import Lexical
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import Params, flatten, unflatten
from gpt2_jax.storage.atomic import replacing, write_json
from gpt2_jax.storage.sealed import (
    FILES,
    SEAL,
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

    A tokenizer that is not GPT-2's comes beside them, in the files that it came in, and
    the lexical part as `lexical.safetensors`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    flat = {
        path: np.ascontiguousarray(leaf)
        for path, leaf in flatten(trained.params).items()
    }
    write_files(folder, trained.tokenizer)
    with replacing(folder / PARAMS_FILE) as path:
        write_safetensors(path, flat)
    names = [PARAMS_FILE, *trained.tokenizer.files]
    if trained.lexical is not None:
        names.append(LEXICAL_FILE)
        with replacing(folder / LEXICAL_FILE) as path:
            write_safetensors(path, trained.lexical.tensors())
    write_json(
        folder / MODEL_FILE,
        sealed(
            {
                "config": configs.to_dict(trained.config),
                "classes": list(trained.classes),
                "max_length": trained.max_length,
                "long": trained.long,
                "temperature": trained.temperature,
                "threshold": trained.threshold
                and dataclasses.asdict(trained.threshold),
                "positive": trained.positive,
                # without the lexical part
                "temperature_alone": trained.temperature_alone,
                FILES: hash_files(folder, only=names),
            }
        ),
    )
    if trained.lexical is None:  # it may have had one before
        (folder / LEXICAL_FILE).unlink(missing_ok=True)


PARAMS_FILE, MODEL_FILE = "params.safetensors", "classifier.json"
LEXICAL_FILE = "lexical.safetensors"
_KEYS = {
    *("config", "classes", "max_length", "temperature", "temperature_alone"),
    *("long", "threshold", "positive", FILES, "params_sha256", SEAL),
}


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
    lexical: Lexical | None = None  # what n-grams add to the logits
    temperature_alone: float | None = None  # without that; None: the same
    long: Long = "cut"  # how a text of more than `max_length` tokens is read

    def alone(self) -> TrainedModel:
        """Return the model without its lexical part."""
        if self.lexical is None:
            return self
        temperature = self.temperature_alone or self.temperature
        return dataclasses.replace(
            self, lexical=None, temperature=temperature, temperature_alone=None
        )


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
    # The name of the seal may be what is damaged.
    if unknown := sorted(set(values) - _KEYS):
        raise WeightsError(
            f"{folder / MODEL_FILE}: unknown keys {', '.join(unknown)}; damaged, or of "
            "a newer version of gpt2-jax"
        )
    try:
        config = configs.from_dict(GPT2Config, values["config"])
        classes = tuple(str(name) for name in values["classes"])
        max_length = int(values["max_length"])
        if FILES not in values:  # earlier versions named the one file's hash
            values[FILES] = {PARAMS_FILE: values["params_sha256"]}
        # Models of the first versions have none of these.
        temperature = float(values.get("temperature", 1.0))
        alone = values.get("temperature_alone")
        alone = None if alone is None else float(alone)
        long = values.get("long", TrainedModel.long)
        if long not in LONGS:
            raise ValueError(f"long={long!r} is not one of {', '.join(LONGS)}")
        threshold = values.get("threshold")
        if threshold is not None:
            threshold = configs.from_dict(Threshold, threshold, "threshold")
            classes.index(threshold.positive)
        positive = values.get("positive")
        if positive is not None:
            classes.index(positive)
        if not 1 <= max_length <= config.max_len:
            raise ValueError(f"max_length={max_length}")
        for value in (temperature, alone):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"temperature={value}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WeightsError(f"{folder / MODEL_FILE}: {error}") from error
    flat = _read_params(folder, values[FILES], config)
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
        _read_lexical(folder, values[FILES], len(classes)),
        alone,
        long,
    )


def _read_lexical(
    folder: Path, hashes: Mapping[str, str], num_classes: int
) -> Lexical | None:
    if LEXICAL_FILE not in hashes:
        return None
    path = folder / LEXICAL_FILE
    try:
        return Lexical.from_tensors(files.read_state_dict(path), num_classes)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error


def _read_params(
    folder: Path, hashes: Mapping[str, str], config: GPT2Config
) -> Mapping[str, np.ndarray]:
    """Hash and read the parameters, and trace what they should be, side by side."""
    path, expected = folder / PARAMS_FILE, {}
    with ThreadPoolExecutor() as pool:
        model = folder / MODEL_FILE
        checked = pool.submit(check_files, folder, model, hashes, "train again")
        read = pool.submit(files.read_state_dict, path)
        # A config may claim any size, and its shapes would take for ever.
        if path.is_file() and config.num_layers <= path.stat().st_size:
            expected = flatten(param_shapes(config))
        checked.result()
    if PARAMS_FILE not in hashes:
        raise WeightsError(f"{model}: has no hash of {PARAMS_FILE}")
    flat, shapes = read.result(), {name: x.shape for name, x in expected.items()}
    if {name: leaf.shape for name, leaf in flat.items()} != shapes:
        raise WeightsError(f"{path}: its parameters are not those of {MODEL_FILE}")
    return flat
