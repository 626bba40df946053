"""What a run will take, before it is run: from shapes, flops and the texts."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpt2_jax.config import GPT2Config
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.packing import call_tokens
from gpt2_jax.engine.param_labels import trained_leaves
from gpt2_jax.engine.trunk import output_shape
from gpt2_jax.engine.trunk_cache import reuses_trunk
from gpt2_jax.model.dense import matmul_precision
from gpt2_jax.plan.task import Task

# Measured on two CPU cores, beside what the shapes tell.
BASE_BYTES = 600_000_000  # Python, JAX, XLA and its programs, scikit-learn
BASE_SECONDS = 15.0  # to start and to compile
MATMULS = 64  # pairs of one call on an accelerator, some milliseconds of it
STEP_SECONDS = 0.003  # of a step, beside its matmuls


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Bytes, and the flops of all matmuls."""

    parameters: int
    optimizer: int  # AdamW's moments of what trains, and its gradients
    features: int  # outputs of the frozen trunk, kept for all texts
    activations: int  # that one step keeps for its backward pass
    linear: int  # of the larger linear baseline
    flops: float
    steps: int
    linear_seconds: float  # of both linear baselines


def estimate(task: Task) -> Estimate:
    """Return what the run of `task` will take."""
    config, train = task.model.config, task.config.train
    tx = create_optimizer(train, task.param_labels, total_steps=1)
    moments = jax.eval_shape(tx.init, task.params)
    trained = _num_bytes(trained_leaves(task.params, task.param_labels))
    texts, depth = task.texts, task.depth
    train_lengths = texts.lengths[texts.parts["train"]]
    reused = reuses_trunk(train, depth)
    features = 0
    if reused:
        shape, dtype = output_shape(config, texts, depth)
        features = int(np.prod(shape)) * dtype.itemsize
    width = texts.widths[-1]
    _, first = np.unique(texts.starts, return_index=True)
    frozen, top = min(depth, config.num_layers), max(config.num_layers - depth, 0)
    forward = forward_flops(config, texts.lengths[first], frozen if reused else 0)
    blocks = top if reused else config.num_layers
    per_epoch = forward_flops(config, train_lengths, blocks)
    backward = 2 * forward_flops(config, train_lengths, top)
    return Estimate(
        parameters=_num_bytes(task.params),
        optimizer=_num_bytes(moments) + trained,
        features=features,
        activations=-(-train.batch_size // train.accumulate)
        * width
        * _kept(config, width)
        * top,
        linear=_linear_bytes(task),
        flops=forward + train.epochs * (per_epoch + backward),
        steps=task.num_steps,
        linear_seconds=_linear_seconds(task),
    )


def describe_estimate(found: Estimate, rate: float) -> list[str]:
    """Return the estimate line by line; `rate` is flops per second."""
    fields = ("parameters", "optimizer", "features", "activations", "linear")
    total = BASE_BYTES + sum(getattr(found, field) for field in fields)
    matmuls, rest = found.flops / rate, BASE_SECONDS + found.steps * STEP_SECONDS
    seconds = matmuls + rest + found.linear_seconds
    device = jax.devices()[0].device_kind
    return [
        f"memory: about {_mb(total)}: Python and XLA {_mb(BASE_BYTES)}, parameters "
        f"{_mb(found.parameters)}, optimizer and gradients {_mb(found.optimizer)}, "
        f"trunk outputs {_mb(found.features)}, activations of a step "
        f"{_mb(found.activations)}, linear baselines {_mb(found.linear)}",
        f"time: about {seconds:.0f} s: matmuls {matmuls:.0f} s on one {device} "
        f"({found.flops / 1e12:.2f} Tflop at {rate / 1e9:.0f} Gflop/s, the rate of one "
        f"measured just now), start, compiling and {found.steps} steps {rest:.0f} s, "
        f"linear baselines {found.linear_seconds:.0f} s",
    ]


def matmul_rate(config: GPT2Config, seconds: float = 0.2) -> float:
    """Return flops per second of matmuls of the model's MLP, measured here.

    One call has many, or an accelerator would be measured by the starting of calls.
    """
    platform, width, inner = jax.default_backend(), config.embed_dim, config.mlp_dim
    repeats = 1 if platform == "cpu" else MATMULS
    x = jnp.ones((call_tokens(platform), width), config.dtype)
    up = jnp.full((width, inner), 1 / width, config.dtype)  # what is 1 stays 1
    down = jnp.full((inner, width), 1 / inner, config.dtype)

    @jax.jit
    def multiply(x: jax.Array) -> jax.Array:
        with matmul_precision(config, config.dtype):
            return jax.lax.fori_loop(0, repeats, lambda _, y: (y @ up) @ down, x)

    jax.block_until_ready(multiply(x))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        jax.block_until_ready(multiply(x))
        best = min(best, time.perf_counter() - started)
    return 4 * repeats * x.size * inner / best


def forward_flops(config: GPT2Config, lengths: np.ndarray, blocks: int) -> float:
    """Return the flops of a forward pass of `blocks` over texts of these lengths."""
    tokens, pairs = float(lengths.sum()), float((lengths.astype(np.int64) ** 2).sum())
    kernels = 8 * config.embed_dim**2 + 4 * config.embed_dim * config.mlp_dim
    return blocks * (kernels * tokens + 4 * config.embed_dim * pairs)


def _kept(config: GPT2Config, width: int) -> int:
    """Return the bytes that a block keeps for each token until its backward pass.

    Two norms, q, k, v, the attention's output and two residuals are as wide as the
    model; the MLP keeps two of four times that; each head keeps two rows of attention.
    """
    values = 16 * config.embed_dim + 2 * config.num_heads * width
    return values * jnp.dtype(config.dtype).itemsize


def _linear_bytes(task: Task) -> int:
    """Return about what a linear baseline keeps while it is fitted.

    Distinct n-grams grow as Heaps' law says (K and the exponent fitted to five sets);
    newton-cg holds some 13 arrays of a float32 weight for each of them and each class.
    """
    if not _fits_linear(task):
        return 0
    ngrams = 6 * _train_characters(task) ** 0.7
    return int(13 * 4 * ngrams * _logits(task))


def _linear_seconds(task: Task) -> float:
    """Return about how long both linear baselines take; fitted to the same sets."""
    if not _fits_linear(task):
        return 0.0
    characters = _train_characters(task)
    return characters * (5e-6 + 4e-7 * _logits(task))


def _fits_linear(task: Task) -> bool:
    return task.config.lexical or task.config.baselines == "linear"


def _logits(task: Task) -> int:
    count = len(task.dataset.classes)
    return count if count > 2 else 1


def _train_characters(task: Task) -> int:
    return sum(map(len, task.texts_of("train")))


def _num_bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
