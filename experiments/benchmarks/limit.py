"""What each phase of a run takes, beside what this machine could do at best.

    python -m experiments.benchmarks.limit --data sms-spam
    python -m experiments.benchmarks.limit --weights random:124M --scopes last_block all

A phase moves bytes and multiplies matrices. Both are counted by arithmetic; the rates
of a matmul and of a copy are measured in the same process, and the slower of the two
bounds the phase. Bytes are those that must move at least: of a step the trained
parameters (read twice, gradients written, and what AdamW reads and writes), of a
prediction all parameters once. What fits the caches moves faster than a copy does, and
so more than 100% is reached. What compiles is a row of its own.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gpt2_jax.config import BALANCES, POOLS, DataConfig, FinetuneConfig, TrainConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.engine.engine import Engine
from gpt2_jax.engine.forward import packed_end
from gpt2_jax.engine.param_labels import trained_leaves
from gpt2_jax.engine.texts import MAX_STEPS, Texts
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.plan.abstract import abstract_run, step_flops
from gpt2_jax.plan.estimate import forward_flops, matmul_rate
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.plan.task import Task
from gpt2_jax.training.above import first_state
from gpt2_jax.training.beside import fit_beside
from gpt2_jax.training.build import build_engine
from gpt2_jax.weights.trained import save_model
from gpt2_jax.workdir.run import Run, RunOptions, open_run

T = TypeVar("T")

STEP_MOVES = 10  # of the trained bytes: p twice, g once; p, g, m, v and p, m, v
PREDICTED = (1, 32, 500)
PATIENCE = 10.0  # seconds


class Phase(NamedTuple):
    name: str
    seconds: float
    flops: float = 0.0
    bytes: float = 0.0


def timed(run: Callable[[], T], repeats: int = 1) -> tuple[float, T]:
    """Return the least seconds of some calls, and what the last one returned.

    Long ones are called less often.
    """
    seconds = []
    while True:
        started = time.perf_counter()
        found = jax.block_until_ready(run())
        seconds.append(time.perf_counter() - started)
        if len(seconds) == repeats or sum(seconds) > PATIENCE:
            return min(seconds), found


def copy_rate() -> float:
    """Return the bytes per second that a copy reads and writes, beyond any cache."""
    x = jnp.ones(2**26, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    copy(x).block_until_ready()
    return 2 * x.nbytes / timed(lambda: copy(x), repeats=5)[0]


def phases(config: FinetuneConfig) -> Iterator[Phase]:
    """Yield the phases of a run of `config`, in their order."""
    command = [sys.executable, "-m", "gpt2_jax", "--version"]
    start = timed(lambda: subprocess.run(command, capture_output=True, check=True), 3)
    yield Phase("start of the command", start[0])
    seconds, _ = timed(lambda: load_dataset(config.data, to_train=True))
    yield Phase("read", seconds)
    options = RunOptions(verbose=False)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_run(config, Path(folder) / "run", options) as run,
    ):
        seconds, task = timed(lambda: prepare(run.config))
        yield Phase("read, load and tokenize", seconds, bytes=_size(task.params))
        run.claim(task.identity())
        yield from _of_run(task, run)


def _of_run(task: Task, run: Run) -> Iterator[Phase]:
    compiled = run.clock.compiling_seconds
    seconds, engine = timed(lambda: build_engine(task, run))
    compiled = run.clock.compiling_seconds - compiled
    config, texts = task.model.config, task.texts
    if engine.trunk_reused:
        _, first = np.unique(texts.starts, return_index=True)
        blocks = min(task.depth, config.num_layers)
        flops = forward_flops(config, texts.lengths[first], blocks)
        size = engine.texts.values.nbytes
        yield Phase("trunk", seconds - compiled, flops, size)
        yield Phase("compile: waited for", compiled)
    state = engine.steps.place(
        first_state(task, engine.params, engine.param_labels, run)
    )
    yield from _steps(task, engine, run, state)
    host = engine.params
    for name, parts in (
        ("evaluation of an epoch", ["validation"]),
        ("final evaluation", [*texts.parts]),
    ):
        rows = np.concatenate([engine.texts.parts[part] for part in parts])
        placed = engine.steps.place(host)
        engine.logits(placed, rows)  # compiles
        seconds, _ = timed(functools.partial(engine.logits, placed, rows), 3)
        below = min(task.depth, config.num_layers) if engine.trunk_reused else 0
        top = max(config.num_layers - below - 1, 0)  # the last block reads one token
        flops = forward_flops(config, engine.texts.lengths[rows], top)
        size = _size(trained_leaves(host, engine.param_labels))
        size += engine.texts.values[:1].nbytes * engine.texts.lengths[rows].sum()
        yield Phase(name, seconds, flops, size)
    logits = engine.logits_by_part(host)
    yield Phase("baselines", timed(lambda: fit_beside(task, logits, run))[0])
    trained, folder = task.trained_model(host, 1.0), run.folder / "model"
    seconds, _ = timed(lambda: save_model(folder, trained))
    yield Phase("save the model", seconds, bytes=2 * _size(trained.params))
    classifier = Classifier(trained)
    given = [text for part in texts.parts for text in task.texts_of(part)]
    for count in PREDICTED:
        some = given[:count]
        classifier.predict_proba(some)  # compiles
        seconds, _ = timed(functools.partial(classifier.predict_proba, some), 5)
        lengths = np.asarray([len(classifier.tokenizer.encode(t)) for t in some])
        flops = forward_flops(config, lengths, config.num_layers - 1)
        # Of the embeddings only the rows of its tokens.
        size = _size(trained.params) - _size(trained.params["wte"])
        yield Phase(f"predict {count} texts", seconds, flops, size)


def _steps(task: Task, engine: Engine, run: Run, state: Any) -> Iterator[Phase]:
    """Yield a step on batches of the commonest width, and what compiles for it."""
    train, key = task.config.train, jax.random.key(0)
    rows = np.random.default_rng(0).permutation(engine.texts.parts["train"])
    rows = rows[: len(rows) // train.batch_size * train.batch_size]
    batches = rows.reshape(-1, train.batch_size)
    shapes = [_shape(engine.texts, batch) for batch in batches]
    shape = max(set(shapes), key=shapes.count)
    alike = batches[[s == shape for s in shapes]]
    width = max(engine.texts.width(batch) for batch in alike)
    most = min(engine.steps.most_steps(train.batch_size, width), MAX_STEPS)
    call = np.resize(alike, (most, train.batch_size))

    def take(steps: int) -> None:
        nonlocal state
        state, _ = engine.steps.train(state, call[:steps], key, width)

    compiled = run.clock.compiling_seconds
    take(1)
    yield Phase("compile: step", run.clock.compiling_seconds - compiled)
    one, _ = timed(functools.partial(take, 1), repeats=3)
    most = min(most, max(int(PATIENCE / 3 / one), 1))
    seconds, _ = timed(functools.partial(take, most), repeats=3)
    size = STEP_MOVES * _size(trained_leaves(engine.params, engine.param_labels))
    name = f"a step ({' x '.join(map(str, shape))} tokens)"
    yield Phase(name, seconds / most, _step_flops(task, engine, call, width), size)


def _shape(texts: Texts, rows: np.ndarray) -> tuple[int, int]:
    """Return the rows and tokens that a batch is computed in."""
    pack = texts.pack(rows)
    return (pack.num, pack.width) if pack else (len(rows), texts.width(rows))


def _step_flops(task: Task, engine: Engine, call: np.ndarray, width: int) -> float:
    """Return the flops of a step of `call` [S, B]: of packed texts the real tokens'."""
    config, train = task.model.config, task.config.train
    if engine.texts.pack(call[0]) is None:
        run = abstract_run(config, train, reused=engine.trunk_reused)
        return step_flops(run, train, width)
    lengths = engine.texts.lengths[call]
    blocks = packed_end(config) - (task.depth if engine.trunk_reused else 0)
    # The backward pass is two: one for what goes in, one for kernels that train.
    passes = 2 if train.trainable == ("lora",) else 3
    return passes * forward_flops(config, lengths, blocks) / len(call)


def _size(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def render(found: Iterator[Phase], flops: float, copied: float) -> Iterator[str]:
    """Yield the lines of a Markdown table, for these rates per second."""
    yield "| phase | seconds | Gflop | MB | at best | of it |"
    yield "|---|---|---|---|---|---|"
    for phase in found:
        best = max(phase.flops / flops, phase.bytes / copied)
        share = f"{best:.4f} | {best / phase.seconds:.0%}" if best else " | "
        yield (
            f"| {phase.name} | {phase.seconds:.4f} | {phase.flops / 1e9:.2f} | "
            f"{phase.bytes / 1e6:.1f} | {share} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="mini", help="or random:124M")
    parser.add_argument("--data", default="demo")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--balance", choices=[*BALANCES], default="undersample")
    parser.add_argument("--pool", choices=[*POOLS], default="last_real")
    scopes = ["head", "last_block", "last_two_blocks", "all", "lora"]
    parser.add_argument("--scopes", nargs="+", choices=scopes, default=["last_block"])
    arguments = parser.parse_args()
    for scope in arguments.scopes:
        config = FinetuneConfig(
            weights=arguments.weights,
            data=DataConfig(source=arguments.data, balance=arguments.balance),
            dtype=arguments.dtype,
            pool=arguments.pool,
            train=TrainConfig(trainable=(scope,), devices=1),
        )
        rate, copied = matmul_rate(prepare(config).model.config), copy_rate()
        device = jax.devices()[0].device_kind
        read = f"{arguments.data}, {arguments.balance}, pool {arguments.pool}"
        print(f"\n{arguments.weights}, {scope}, {read}, {device}")
        print(f"matmul {rate / 1e9:.0f} Gflop/s, copy {copied / 1e9:.1f} GB/s\n")
        for line in render(phases(config), rate, copied):
            print(line, flush=True)


if __name__ == "__main__":
    main()
