"""How far bfloat16 logits are from float32 ones, by the number type of the stream.

    python -m experiments.benchmarks.stream

The residual stream, which every block adds to, is bfloat16 with `--dtype bfloat16`; the
other row keeps it in float32, with the matmuls in bfloat16 all the same. XLA computes
bfloat16 on a CPU as accelerators do: products of rounded operands, summed in float32,
and the sum rounded.
"""

from __future__ import annotations

import argparse
import dataclasses

import jax
import numpy as np
from jax import Array

from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.model.gpt2 import GPT2, to_classifier
from gpt2_jax.model.tree import Params
from gpt2_jax.tokenizer import encode
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.random import PREFIX, untrained

CLASSES = 20  # of the new head; each is a number more to compare
PART = 8  # texts of a call


class FloatStream(GPT2):
    """Adds up in float32 what the blocks give: a sum has the wider type."""

    def embed(self, tokens: Array, positions: Array) -> Array:  # pyright: ignore
        return self.wte(tokens) + self.wpe(positions)


def read_tokens(num_texts: int, width: int) -> np.ndarray:
    """Return the shipped texts end to end, cut into rows [N, T]."""
    texts = load_dataset(DataConfig()).texts
    ids = [token for text in texts for token in encode(text)]
    return np.array(ids[: num_texts * width]).reshape(num_texts, width)


def logits_of(model: GPT2, params: Params, tokens: np.ndarray) -> np.ndarray:
    """Return the logits [N, C], in float64."""
    apply = jax.jit(lambda params, tokens: model.apply({"params": params}, tokens))
    parts = np.split(tokens, range(PART, len(tokens), PART))
    return np.concatenate([apply(params, part) for part in parts]).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = ["mini", "random:mini", "random:124M"]
    parser.add_argument("--weights", nargs="+", default=known)
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--width", type=int, default=128, help="tokens of each text")
    arguments = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    tokens = read_tokens(arguments.texts, arguments.width)
    print("| weights | stream | sd of logits | rms error | of the sd |")
    print("|---|---|---|---|---|")
    for name in arguments.weights:
        load = load_pretrained(name) if PREFIX not in name else untrained(name, 0)
        model, params = to_classifier(*load, num_classes=CLASSES, key=jax.random.key(0))
        exact = logits_of(model, params, tokens)
        config = dataclasses.replace(model.config, dtype="bfloat16")
        for stream, kind in ("bfloat16", GPT2), ("float32", FloatStream):
            error = logits_of(kind(config), params, tokens) - exact
            rms, sd = np.sqrt(np.mean(error**2)), exact.std()
            print(f"| {name} | {stream} | {sd:.3f} | {rms:.5f} | {rms / sd:.2%} |")


if __name__ == "__main__":
    main()
