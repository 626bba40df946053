"""How much of the device's matmul rate the trunk and the train step reach.

    python experiments/benchmarks/flops.py --weights mini --width 120
    ... --weights 124M --dtype bfloat16 --width 128 --texts 512  # on a GPU

Flops are those of all matmuls, counted from their shapes; the rate is that of the
faster of two matmuls, one of the MLP's shape and a square one, measured in the
same process.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpt2_jax import GPT2, GPT2Config, load_pretrained, to_classifier
from gpt2_jax.config import TrainConfig
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.packing import call_tokens
from gpt2_jax.engine.param_labels import label_params, trunk_depth
from gpt2_jax.engine.steps import create_train_state, train_step
from gpt2_jax.engine.texts import MAX_STEPS, Texts, lay_out
from gpt2_jax.engine.trunk import block_programs, packed_blocks, run_trunk
from gpt2_jax.model.attention import compiling_for
from gpt2_jax.model.tree import Params, split_params
from gpt2_jax.plan.counting import matmul_flops


class Figure(NamedTuple):
    flops: float
    seconds: float


def best_seconds(run: Callable[[], object], repeats: int) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def flops_of(function: Callable[..., Any], *arguments: Any) -> float:
    with compiling_for("no card"):  # whose kernel would hide those of the attention
        return matmul_flops(function, *arguments)


def matmul_rate(rows: int, inner: int, columns: int, dtype: str, repeats: int) -> float:
    """Return flops per second of [rows, inner] by [inner, columns]."""
    x, y = jnp.ones((rows, inner), dtype), jnp.ones((inner, columns), dtype)
    multiply = jax.jit(jnp.matmul)
    return flops_of(jnp.matmul, x, y) / best_seconds(lambda: multiply(x, y), repeats)


def best_matmul_rate(config: GPT2Config, repeats: int) -> float:
    rows = call_tokens(jax.default_backend())
    return max(
        matmul_rate(rows, config.embed_dim, config.mlp_dim, config.dtype, repeats),
        matmul_rate(4096, 4096, 4096, config.dtype, repeats),
    )


def random_texts(count: int, width: int) -> Texts:
    """Return `count` texts of `width` random tokens each, with random labels."""
    random = np.random.default_rng(0)
    tokens = random.integers(0, 50000, (count, width)).tolist()
    return lay_out(tokens, limit=width, labels=random.integers(0, 2, count))


def measure_trunk(
    config: GPT2Config, params: Params, texts: Texts, depth: int, repeats: int
) -> Figure:
    """Measure a trunk of `depth`; flops are of its blocks that run over all tokens."""
    width = int(texts.lengths[0])
    rows = max(call_tokens(jax.default_backend()) // width, 1)
    hidden = jnp.ones((rows, width, config.embed_dim), config.dtype)
    segments = np.ones((rows, width), np.int32)
    block = flops_of(block_programs(config)[1], params["h_0"], hidden, segments)
    flops = block / rows * len(texts) * packed_blocks(config, depth)
    seconds = best_seconds(
        lambda: run_trunk(config, params, texts, depth).values, repeats
    )
    return Figure(flops, seconds)


def measure_step(
    model: GPT2, params: Params, texts: Texts, depth: int, size: int, repeats: int
) -> Figure:
    """Measure a train step on `size` texts, on what the trunk makes of them."""
    config, width = model.config, int(texts.lengths[0])
    _, top = split_params(params, config.num_layers, depth)
    param_labels = label_params(top, "last_block", config.num_layers)
    tx = create_optimizer(TrainConfig(), param_labels, 100)
    features = run_trunk(config, params, texts, depth)
    steps = jit_steps(model, param_labels, features, depth=depth)
    state = steps.place(create_train_state(model, top, tx))
    key = jax.random.key(0)
    flops = flops_of(
        lambda state, batch: train_step(
            state, batch, key, model=model, param_labels=param_labels, depth=depth
        ),
        state,
        {
            "features": jnp.ones((size, width, config.embed_dim), config.dtype),
            "lengths": np.full(size, width, np.int32),
            "labels": np.zeros(size, np.int32),
            "loss_weights": np.ones(size, np.float32),
        },
    )
    rows = np.random.default_rng(1).integers(0, len(texts), (MAX_STEPS, size))

    def train() -> np.ndarray:
        nonlocal state
        state, losses = steps.train(state, rows, key, width)
        return losses

    return Figure(flops, best_seconds(train, repeats) / MAX_STEPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--width", type=int, default=120, help="tokens of each text")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    count, repeats = arguments.texts, arguments.repeats

    config, params = load_pretrained(arguments.weights)
    model, params = to_classifier(config, params, num_classes=2, key=jax.random.key(0))
    config = dataclasses.replace(model.config, dtype=arguments.dtype)
    model = model.clone(config=config)
    rate, texts = (
        best_matmul_rate(config, 4 * repeats),
        random_texts(count, arguments.width),
    )
    layers = config.num_layers
    depth = trunk_depth(label_params(params, "last_block", layers), layers)
    size = arguments.batch_size
    figures = {
        f"trunk of {count} texts": measure_trunk(config, params, texts, depth, repeats),
        # With the pooling: all that a prediction needs. The last block, which has one
        # query per text, is not counted.
        f"forward of {count} texts": measure_trunk(
            config, params, texts, layers + 1, repeats
        ),
        "step": measure_step(model, params, texts, depth, size, repeats),
    }
    print(f"device: {jax.device_count()} x {jax.devices()[0].device_kind}")
    print(f"matmul: {rate / 1e9:.0f} Gflop/s")
    for name, (flops, seconds) in figures.items():
        print(
            f"{name}: {flops / 1e9:.2f} Gflop in {seconds:.4f} s, "
            f"{flops / seconds / 1e9:.0f} Gflop/s, "
            f"{flops / seconds / rate:.0%} of matmul"
        )


if __name__ == "__main__":
    main()
