"""A name or a path -> the config and the params of a pretrained GPT-2."""

from __future__ import annotations

import dataclasses
import importlib.resources
from pathlib import Path

import jax

from gpt2_jax.config import PRESETS, GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.model.tree import Params
from gpt2_jax.storage.sealed import sha256_of
from gpt2_jax.tokenizer import VOCAB_SIZE, gpt2
from gpt2_jax.weights import adapter, files, hub, orbax_folder, released
from gpt2_jax.weights.arrays import DTYPES
from gpt2_jax.weights.convert import convert_state_dict
from gpt2_jax.weights.rules import HUGGING_FACE
from gpt2_jax.weights.tensors import Pretrained, convert
from gpt2_jax.weights.tokenizer_folder import read_tokenizer
from gpt2_jax.weights.trained import load_model, model_folder

MINI_SHA256 = "d650757d55552f020e9e3507cf2fc521b160eca8dcbe6db9fec0221d681a701a"


def load_pretrained(
    name_or_path: str | Path,
    *,
    num_heads: int | None = None,
    naming: str | None = None,
    dtype: str = "float32",
    offline: bool = False,
) -> tuple[GPT2Config, Params]:
    """Return the config and the params (numpy) of a pretrained GPT-2.

    A classifier comes with its head: `config.num_classes` is set, and `to_classifier`
    replaces the head as it replaces a language head. What is not of `dtype` is
    converted, and the log says so.

    Args:
        name_or_path: "mini" (shipped), the size of a released GPT-2 such as "124M"
            (cached or downloaded), an id on Hugging Face's hub, `owner/name[@revision]`
            (likewise; a path that exists wins), or a path: a Hugging Face folder
            (safetensors, `pytorch_model.bin`, in shards or not, `flax_model.msgpack`,
            or LoRA adapters of peft, whose base is read too); a
            `.safetensors`, `.pth`, `.pt`, `.ckpt` or `.bin` file with the names of
            Hugging Face, of LLMs-from-scratch (a classifier of its chapter 6 too), of
            nanoGPT, minGPT or build-nanogpt, or llm.c's; a folder of OpenAI's
            TensorFlow checkpoint; an orbax folder that `gpt2-jax convert` wrote; a run
            of `gpt2-jax finetune` or `adapt`. What holds the model, as a prefix of its
            names or a key of a checkpoint, makes no difference.
        num_heads: only for files of unusual size that nothing beside them describes.
        naming: a name of `gpt2_jax.config.NAMINGS`, where the file does not tell it.
            Hugging Face keeps `c_attn` as [D, 3D], and nanoGPT and minGPT as [3D, D];
            these two have the same names and another GELU. nanoGPT's is told by
            `model_args` or `iter_num` in the checkpoint, or by the lack of biases,
            build-nanogpt by its `config`.
        dtype: of the params: "float32" or "bfloat16".
        offline: forbid the network.

    Raises:
        WeightsError: nothing found there, a format or an architecture that is not
            GPT-2's, or tensors that do not fit.
        ValueError: another dtype.
    """
    where = _located(name_or_path, offline=offline)
    found = _read_as_told(where, num_heads, naming, dtype, offline=offline)
    return found.config, found.params


def read_pretrained(
    name_or_path: str | Path,
    *,
    num_heads: int | None = None,
    naming: str | None = None,
    dtype: str = "float32",
    offline: bool = False,
    tokenizer: str | Path | None = None,
) -> Pretrained:
    """Do what `load_pretrained` does, and return labels and the tokenizer too.

    That is the one which lies beside the weights, or in the folder `tokenizer`; where
    there is none it is GPT-2's, if the vocabulary has room for it.

    Raises:
        WeightsError: as `load_pretrained`, or the tokenizer cannot be used.
    """
    where = _located(name_or_path, offline=offline)
    found = _read_as_told(where, num_heads, naming, dtype, offline=offline)
    own = found.tokenizer
    if tokenizer is not None:
        own = read_tokenizer(Path(tokenizer))
        if own is None:
            raise WeightsError(f"{tokenizer}: no tokenizer there")
    elif (folder := _folder_of(where)) is not None:
        own = read_tokenizer(folder) or own
    if own is None and found.config.vocab_size >= VOCAB_SIZE:
        own = gpt2()
    if own is not None and own.vocab_size > found.config.vocab_size:
        raise WeightsError(
            f"{tokenizer or name_or_path}: the tokenizer has ids up to "
            f"{own.vocab_size - 1}, the model a vocabulary of "
            f"{found.config.vocab_size}"
        )
    return dataclasses.replace(found, tokenizer=own)


def _located(name_or_path: str | Path, *, offline: bool) -> Path:
    """Return where weights lie; what is on the hub is downloaded if need be.

    Raises:
        WeightsError: they cannot be had.
    """
    if str(name_or_path) not in PRESETS and hub.is_id(name_or_path):
        return hub.fetch(name_or_path, offline=offline)
    return hub.snapshot_of(Path(name_or_path))


def _folder_of(path: Path) -> Path | None:
    """Return where a tokenizer may lie beside weights; None: they are ours."""
    if str(path) == "mini" or not path.exists():
        return None
    path = files.adapted(path)
    if orbax_folder.is_one(path) or model_folder(path) is not None:
        return None
    return path if path.is_dir() else path.parent


def _read_as_told(
    path: Path,
    num_heads: int | None,
    naming: str | None,
    dtype: str,
    *,
    offline: bool,
) -> Pretrained:
    """Read, and refuse what the user said where it is not so."""
    found = _read(path, num_heads, naming, dtype, offline=offline)
    if num_heads not in (None, found.config.num_heads):
        raise WeightsError(
            f"{path}: num_heads={num_heads}, but it says itself that it has "
            f"{found.config.num_heads}"
        )
    if naming not in (None, found.naming):
        raise WeightsError(
            f"{path}: naming={naming!r} is for files of tensors, and this is "
            "none; omit it"
        )
    return found


def _read(
    path: Path,
    num_heads: int | None,
    naming: str | None,
    dtype: str,
    *,
    offline: bool,
) -> Pretrained:
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is not one of {', '.join(DTYPES)}")
    if str(path) == "mini":
        return _read_mini(dtype)
    if str(path) in PRESETS and not path.exists():
        return _read_released(str(path), dtype, offline=offline)
    path = files.adapted(path)
    if orbax_folder.is_one(path):
        config, params, tokenizer = orbax_folder.read(path)
        return Pretrained(config, _as_dtype(params, dtype), tokenizer=tokenizer)
    if model_folder(path) is not None:
        return _read_run(path, dtype)
    if (path / "checkpoints").is_dir() and (path / "metrics.jsonl").is_file():
        raise WeightsError(
            f"{path}: a run that is not finished; go on with --resume --workdir {path}"
        )
    if adapter.is_one(path):
        return _read_adapted(path, num_heads, naming, dtype, offline=offline)
    contents = files.read_contents(path)
    folder = path if path.is_dir() else path.parent
    try:
        return convert(contents, path, folder, num_heads, naming, dtype)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _read_adapted(
    path: Path,
    num_heads: int | None,
    naming: str | None,
    dtype: str,
    *,
    offline: bool,
) -> Pretrained:
    """Read adapters of peft, and the base model that they name."""
    lora = adapter.read(path)
    try:
        base = _located(lora.base, offline=offline)
        contents = files.read_contents(base)
        state = adapter.merge(contents.tensors, lora)
        contents = dataclasses.replace(contents, tensors=state)
        folder = base if base.is_dir() else base.parent
        found = convert(contents, path, folder, num_heads, naming, dtype)
    except WeightsError as error:
        raise WeightsError(
            f"{path}: adapters of peft for {lora.base!r}, as {adapter.CONFIG} says: "
            f"{error}"
        ) from error
    return dataclasses.replace(found, tokenizer=read_tokenizer(folder))


def _read_run(path: Path, dtype: str) -> Pretrained:
    trained = load_model(path)
    params = _as_dtype(trained.params, dtype)
    own = trained.tokenizer
    if own.is_gpt2s:  # as beside other weights
        own = None
    found = Pretrained(trained.config, params, trained.classes, trained.max_length)
    return dataclasses.replace(found, tokenizer=own)


def _as_dtype(params: Params, dtype: str) -> Params:
    return jax.tree.map(lambda leaf: leaf.astype(DTYPES[dtype], copy=False), params)


def _read_released(name: str, dtype: str, *, offline: bool) -> Pretrained:
    path = released.find(name, offline=offline)
    naming = HUGGING_FACE.key if path.name == files.SINGLE else None
    heads = PRESETS[name].num_heads
    found = _read(path, heads, naming, dtype, offline=True)
    if found.config != PRESETS[name]:
        raise WeightsError(f"{path}: expected {PRESETS[name]}, got {found.config}")
    return found


def _read_mini(dtype: str) -> Pretrained:
    asset = importlib.resources.files("gpt2_jax") / "assets" / "gpt2-mini"
    with importlib.resources.as_file(asset) as folder:
        file = folder / files.SINGLE
        if not file.is_file() or sha256_of(file) != MINI_SHA256:
            raise WeightsError(
                f"{file}: the shipped base model is damaged (its SHA-256 is not "
                f"{MINI_SHA256}); install gpt2-jax again"
            )
        state = files.read_state_dict(folder)
        params = convert_state_dict(state, PRESETS["mini"], dtype=dtype)
        return Pretrained(PRESETS["mini"], params)
