"""Files for the `GPTModel` of the book, `load_state_dict(strict=True)` included."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpt2_jax.config import GPT2Config
from gpt2_jax.errors import UserError
from gpt2_jax.export.pth_writer import write_pth
from gpt2_jax.model.tree import Params
from gpt2_jax.tokenizer import Tokenizer
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.rules import LLMS_FROM_SCRATCH
from gpt2_jax.weights.safetensors import write_safetensors

SUFFIXES = (".safetensors", ".pth")


def check_suffix(path: Path) -> None:
    """Raise UserError if the name does not tell the kind of file."""
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"{path}: LLMs-from-scratch weights are one file; end its name in "
            f"{' or '.join(SUFFIXES)}"
        )


def check_tokenizer(tokenizer: Tokenizer | None) -> None:
    """Raise UserError if it is not GPT-2's, the book's only one."""
    if tokenizer is not None and not tokenizer.is_gpt2s:
        raise UserError(
            "LLMs-from-scratch weights are one file without a tokenizer, and these "
            "have one of their own, which is not GPT-2's; write them as hf"
        )


def write_file(path: Path, config: GPT2Config, params: Params) -> None:
    """Write a `.safetensors` or `.pth`, as the suffix says.

    It holds all that the book's model has: a language head even if it is tied, and the
    causal mask of every block.

    Raises:
        UserError: its model computes otherwise.
    """
    book = GPT2Config()
    for field in ("activation", "layer_norm_epsilon", "mlp_dim"):
        expected = getattr(book, field)
        if field == "mlp_dim":
            expected = 4 * config.embed_dim
        if getattr(config, field) != expected:
            raise UserError(
                f"LLMs-from-scratch's model has {field}={expected}, this one "
                f"{getattr(config, field)}; write it as hf"
            )
    state = to_state_dict(params, LLMS_FROM_SCRATCH)
    if "out_head" not in params:
        state["out_head.weight"] = state["tok_emb.weight"]
    mask = np.triu(np.ones((config.max_len, config.max_len), np.float32), k=1)
    for block in range(config.num_layers):
        state[f"trf_blocks.{block}.att.mask"] = mask
    if path.suffix == ".pth":
        write_pth(path, state)
    else:
        write_safetensors(path, state, alone=True)
