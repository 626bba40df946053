"""A train step on many blocks: compiled one by one, beside one scan over all of them.

python experiments/benchmarks/scan.py --split 0 6 10 --tokens 32 120

Prints seconds to compile and, of both in turn, the median of a step.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gpt2_jax import GPT2, load_pretrained, to_classifier
from gpt2_jax.config import TrainConfig
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.param_labels import label_params
from gpt2_jax.engine.steps import create_train_state, train_step
from gpt2_jax.model import scan
from gpt2_jax.model.tree import Params

BATCH_SIZE = 8


def batch_of(model: GPT2, tokens: int, split: int) -> dict[str, np.ndarray]:
    config, rng = model.config, np.random.default_rng(0)
    shape = (BATCH_SIZE, tokens)
    if split:
        features = rng.normal(size=(*shape, config.embed_dim)).astype(np.float32)
        values = {"features": features}
    else:
        values = {"tokens": rng.integers(config.vocab_size, size=shape, dtype=np.int32)}
    return values | {
        "lengths": np.full(BATCH_SIZE, tokens, np.int32),
        "labels": rng.integers(2, size=BATCH_SIZE, dtype=np.int32),
        "loss_weights": np.ones(BATCH_SIZE, np.float32),
    }


def stepper(
    model: GPT2, params: Params, batch: dict[str, Any], split: int, *, scanned: bool
) -> tuple[Callable[[], None], float]:
    """Return what takes a step, and the seconds that its first took."""
    layers = model.config.num_layers
    names = [f"h_{i}/.*" for i in range(split, layers)] + ["ln_f/.*", "out_head/.*"]
    train = TrainConfig(trainable=tuple(names) if split else ("all",))
    param_labels = label_params(params, train.trainable, layers)
    tx = create_optimizer(train, param_labels, total_steps=100)
    step = jax.jit(
        functools.partial(
            train_step, model=model, param_labels=param_labels, depth=split
        ),
        donate_argnums=0,
    )
    state, key = create_train_state(model, params, tx), jax.random.key(0)
    scan.SCAN_ABOVE = 0 if scanned else layers

    def take() -> None:
        nonlocal state
        state, loss = step(state, batch, key)
        loss.block_until_ready()

    started = time.perf_counter()
    take()
    return take, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--split", type=int, nargs="+", default=[0, 6, 10])
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 120])
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    config, params = load_pretrained(arguments.weights)
    key = jax.random.key(0)
    model, params = to_classifier(config, params, num_classes=2, key=key)
    print(f"{jax.devices()[0].device_kind}, batches of {BATCH_SIZE}, {config.dtype}")
    for split in arguments.split:
        for tokens in arguments.tokens:
            batch = jax.device_put(batch_of(model, tokens, split))
            make = functools.partial(stepper, model, params, batch, split)
            ways = {name: make(scanned=name == "scan") for name in ("unrolled", "scan")}
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(arguments.turns):
                for name, (take, _) in ways.items():
                    started = time.perf_counter()
                    take()
                    seconds[name].append(time.perf_counter() - started)
            medians = {name: statistics.median(all_) for name, all_ in seconds.items()}
            shown = ", ".join(
                f"{name} {medians[name]:.3f} s (first {first:.1f} s)"
                for name, (_, first) in ways.items()
            )
            ratio = medians["unrolled"] / medians["scan"]
            print(
                f"blocks from {split}, {tokens} tokens: {shown}, {ratio:.2f}x",
                flush=True,
            )


if __name__ == "__main__":
    main()
