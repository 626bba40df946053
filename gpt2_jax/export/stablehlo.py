"""A trained classifier as one StableHLO artefact, which runs without this package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, export

from gpt2_jax.engine.forward import predict_step
from gpt2_jax.engine.widths import BUCKETS
from gpt2_jax.errors import UserError
from gpt2_jax.export.tokenizer_files import write_tokenizer
from gpt2_jax.model.gpt2 import GPT2, count_params
from gpt2_jax.model.pools import POOLS
from gpt2_jax.storage.sealed import sha256_of
from gpt2_jax.weights.trained import TrainedModel

MODEL_FILE, ABOUT_FILE = "model.stablehlo", "model.json"


PLATFORMS = ("cpu", "cuda", "tpu")

_MAX_BYTES = 2**31 - 2**20  # a flatbuffer, which the artefact is, holds 2 GiB

_TOKENIZATION = (
    "GPT-2's byte-pair encoding of the plain text, without special tokens (tiktoken: "
    'get_encoding("gpt2").encode_ordinary); the first max_length tokens count; an '
    "empty text is one pad_id"
)

_OWN_TOKENIZATION = (
    "that of tokenizer.json, which cuts to max_length (tokenizers: set "
    "encode_special_tokens); a text without a token is one pad_id"
)


def write(folder: Path, trained: TrainedModel) -> None:
    """Write the model, its parameters inside, and the JSON that says how to call it.

    Raises:
        UserError: the parameters are too large.
    """
    num_bytes = 4 * count_params(trained.params)
    if num_bytes > _MAX_BYTES:
        raise UserError(
            f"{num_bytes / 1e9:.1f} GB of parameters, and a StableHLO artefact holds "
            "2 GiB; use --format hf"
        )
    folder.mkdir(parents=True)
    if not trained.tokenizer.is_gpt2s:
        length, own = trained.max_length, trained.tokenizer
        write_tokenizer(folder, length, classifier=True, tokenizer=own)
    exported = _export(trained)
    (folder / MODEL_FILE).write_bytes(exported.serialize())
    about = _about(trained, exported, sha256_of(folder / MODEL_FILE))
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    (folder / ABOUT_FILE).write_text(text, "utf-8")


def read(folder: Path) -> Callable[[Any, Any], Array]:
    """Return the function of `tokens` and `lengths` that `write` wrote."""
    content = bytearray((folder / MODEL_FILE).read_bytes())
    return export.deserialize(content).call


def _export(trained: TrainedModel) -> export.Exported:
    params = jax.tree.map(jnp.asarray, trained.params)
    model, width = GPT2(trained.config), trained.max_length

    def logits(tokens: Array, lengths: Array) -> Array:
        batch = {"tokens": tokens, "lengths": lengths}
        return predict_step(params, batch, model=model)

    if POOLS[trained.config.pool].reads_padding:
        shape = export.symbolic_shape(f"batch, {width}")
    else:
        shape = export.symbolic_shape(
            "batch, tokens", constraints=[f"tokens <= {width}"]
        )
    return export.export(jax.jit(logits), platforms=PLATFORMS)(
        jax.ShapeDtypeStruct(shape, jnp.int32),
        jax.ShapeDtypeStruct(shape[:1], jnp.int32),
    )


def _about(
    trained: TrainedModel, exported: export.Exported, sha256: str
) -> dict[str, Any]:
    width, own = trained.max_length, trained.tokenizer
    fixed = POOLS[trained.config.pool].reads_padding
    shape = f"{width}" if fixed else f"tokens, from 1 to {width}"
    return {
        "format": "StableHLO, serialized by jax.export",
        "file": MODEL_FILE,
        "sha256": sha256,
        "jax_version": jax.__version__,
        "calling_convention_version": exported.calling_convention_version,
        "platforms": list(exported.platforms),
        "compatibility": "jax promises to read it for 6 months; keep the run itself",
        "classes": list(trained.classes),
        "max_length": width,
        "pad_id": own.end_id,
        "pool": trained.config.pool,
        "call": (
            f'jax.export.deserialize(bytearray(open("{MODEL_FILE}", "rb").read()))'
            ".call(tokens, lengths)"
        ),
        "tokens": f"int32 [batch, {shape}], padded on the right with pad_id",
        "widths": None
        if fixed
        else [w for w in BUCKETS if w < width] + [width],  # each is compiled once
        "lengths": "int32 [batch], the tokens of each text without padding, at least 1",
        "returns": (
            "float32 [batch, classes], logits: softmax gives probabilities; the "
            "temperature of the calibration is in them"
        ),
        "tokenization": _TOKENIZATION if own.is_gpt2s else _OWN_TOKENIZATION,
    }
