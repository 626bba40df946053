"""Hugging Face folders, for transformers' `from_pretrained`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.blocks import LAYER_NORM_EPSILON
from gpt2_jax.config import GPT2Config
from gpt2_jax.tokenizer import END_OF_TEXT, VOCAB_SIZE
from gpt2_jax.tokenizer_files import write_tokenizer
from gpt2_jax.tree import Params
from gpt2_jax.weights import files
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.names import HUGGING_FACE
from gpt2_jax.weights.safetensors_writer import write_safetensors

HEAD, LANGUAGE_HEAD = "score.weight", "lm_head.weight"
PREFIX = "transformer."  # before every name but a head's


def write_language_model(folder: Path, config: GPT2Config, params: Params) -> None:
    """Write what `AutoModelForCausalLM` loads, with the tokenizer if it is GPT-2's."""
    values = {
        "architectures": ["GPT2LMHeadModel"],
        "tie_word_embeddings": config.tied,
    }
    write_folder(folder, config, params, LANGUAGE_HEAD, values)
    if config.vocab_size == VOCAB_SIZE:
        write_tokenizer(folder, config.max_len, classifier=False)
    files.write_sums(folder)


def write_folder(
    folder: Path,
    config: GPT2Config,
    params: Params,
    head: str,
    values: Mapping[str, Any],
) -> None:
    """Write config.json and model.safetensors; the kernel of `out_head` is `head`."""
    folder.mkdir(parents=True)
    known = config.vocab_size > END_OF_TEXT
    config_json = {
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.max_len,
        "n_embd": config.embed_dim,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": LAYER_NORM_EPSILON,
        "attn_pdrop": config.dropout_rate,
        "embd_pdrop": config.dropout_rate,
        "resid_pdrop": config.dropout_rate,
        "bos_token_id": END_OF_TEXT if known else None,
        "eos_token_id": END_OF_TEXT if known else None,
        "dtype": "float32",
        **values,
    }
    text = json.dumps(config_json, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, "utf-8")
    body = {name: leaf for name, leaf in params.items() if name != "out_head"}
    state = to_state_dict(body, HUGGING_FACE, PREFIX)
    if "out_head" in params:
        state[head] = np.ascontiguousarray(np.asarray(params["out_head"]["kernel"]).T)
    write_safetensors(folder / files.SINGLE, state)
