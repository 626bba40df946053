"""Tiny models and tables that several test files use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from gpt2_jax.config import GPT2Config
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import flatten, unflatten
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.rules import HUGGING_FACE

TINY = GPT2Config(vocab_size=61, max_len=24, embed_dim=12, num_layers=3, num_heads=2)


def random_params(config: GPT2Config, seed: int = 0) -> Any:
    """Params without zeros or ones, so that a mix-up shows."""
    random = np.random.default_rng(seed)
    return unflatten(
        {
            path: random.normal(0.05, 0.3, leaf.shape).astype(np.float32)
            for path, leaf in sorted(flatten(param_shapes(config)).items())
        }
    )


def write_hugging_face(folder: Path, config: GPT2Config, params: Any) -> Path:
    """Write a Hugging Face folder of a language model."""
    folder.mkdir(parents=True, exist_ok=True)
    state = to_state_dict(params, HUGGING_FACE)
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    values = {
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.max_len,
        "n_embd": config.embed_dim,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
    }
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def write_table(
    path: Path, rows: int = 60, classes: tuple[str, ...] = ("a", "b")
) -> Path:
    """Write a CSV whose labels a tiny model can learn: each class has its words."""
    random = np.random.default_rng(5)
    words = ["sun", "rain", "tree", "code", "prize", "lunch", "door", "blue", "fish"]
    lines = ["text,label"]
    for row in range(rows):
        index = row % len(classes)
        own = words[index * 3 : index * 3 + 3]
        text = " ".join(random.choice(own, size=random.integers(2, 9)))
        lines.append(f"{text} {row},{classes[index]}")
    path.write_text("\n".join(lines) + "\n")
    return path
