"""What a checkpoint costs the training, and how long one takes to restore.

    python experiments/checkpoints/run.py
    python experiments/checkpoints/run.py --case "1558M params"

Random weights and random data: batches of 8 texts of 128 tokens, or of what the frozen
trunk made of them. A save is timed in its two parts, the one that training waits for
and the one beside it, which ends when every leaf was read back and the manifest is
written. The extra time is that of the steps during a save over that of as many without.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.training.train_state import TrainState

from gpt2_jax import GPT2, GPT2Config
from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.config import PRESETS, TrainConfig
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.param_labels import label_params, trunk_depth
from gpt2_jax.engine.texts import Texts, lay_out
from gpt2_jax.engine.wrapper import Steps
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import Params, flatten, split_params, unflatten

BATCH, WIDTH = 8, 128


@dataclasses.dataclass(frozen=True)
class Case:
    size: str
    trainable: str
    adamw: bool = True  # False: no moments and no steps, where memory is short


CASES = {
    "mini last_block": Case("mini", "last_block"),
    "124M last_block": Case("124M", "last_block"),
    "124M all": Case("124M", "all"),
    "1558M last_block": Case("1558M", "last_block"),
    "1558M params": Case("1558M", "all", adamw=False),
}


def random_leaves(shapes: Params) -> Iterator[tuple[str, np.ndarray]]:
    random = np.random.default_rng(0)
    for path, leaf in flatten(shapes).items():
        yield path, 0.02 * random.standard_normal(leaf.shape, np.float32)


def create(case: Case) -> tuple[TrainState, Params, Steps]:
    """Return a state of what trains, its labels, and the steps on random texts."""
    config = dataclasses.replace(PRESETS[case.size], num_classes=2)
    shapes = param_shapes(config)
    param_labels = label_params(shapes, case.trainable, config.num_layers)
    depth = trunk_depth(param_labels, config.num_layers)
    _, shapes = split_params(shapes, config.num_layers, depth)
    _, param_labels = split_params(param_labels, config.num_layers, depth)
    params = jax.device_put(unflatten(dict(random_leaves(shapes))))
    model = GPT2(config)
    if case.adamw:
        tx = create_optimizer(TrainConfig(), param_labels, 1000)
        state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)
    else:
        nothing: Any = None
        state = TrainState(0, model.apply, params, nothing, opt_state={})
    texts = random_texts(config, depth)
    return state, param_labels, jit_steps(model, param_labels, texts, depth=depth)


def random_texts(config: GPT2Config, depth: int) -> Texts:
    """Return a batch of tokens, or of what a trunk of `depth` blocks makes of them."""
    random = np.random.default_rng(1)
    tokens = random.integers(0, config.vocab_size, (BATCH, WIDTH)).tolist()
    texts = lay_out(tokens, limit=WIDTH, labels=np.arange(BATCH) % 2)
    if not depth:
        return texts
    shape = (BATCH * WIDTH, config.embed_dim)
    return dataclasses.replace(texts, values=random.standard_normal(shape, np.float32))


def measure(case: Case, workdir: Path) -> dict[str, float]:
    state, param_labels, steps = create(case)
    rows, key = np.arange(BATCH, dtype=np.int32)[None], jax.random.key(0)
    figures: dict[str, float] = {}

    def train(state: TrainState) -> TrainState:
        return steps.train(state, rows, key, WIDTH)[0]

    saved = threading.Event()
    with Checkpoints(workdir, param_labels, committed=saved.set) as checkpoints:
        if case.adamw:
            state = train(steps.place(state))  # compiles
            started, count = time.perf_counter(), 0
            while count < 3 or time.perf_counter() - started < 3:
                state, count = train(state), count + 1
            figures["step"] = (time.perf_counter() - started) / count
        checkpoints.save(state, {}, None)  # the first one compiles the copies
        checkpoints.finish()
        saved.clear()
        state = train(state) if case.adamw else state.replace(step=1)
        started = time.perf_counter()
        checkpoints.save(state, {}, None)
        figures["wait"] = time.perf_counter() - started
        taken = 0
        while case.adamw and not saved.is_set():
            state, taken = train(state), taken + 1
            checkpoints.check()  # raises what failed
        checkpoints.finish()
        whole = time.perf_counter() - started
        figures["beside"] = whole - figures["wait"]
        if case.adamw:
            figures["extra"] = whole - taken * figures["step"]
        tree = checkpoints.tree(state)
        figures["MB"] = sum(x.nbytes for x in jax.tree.leaves(tree)) / 1e6
        last = workdir / "checkpoints" / str(int(tree["step"]) - taken)
        files = [path for path in last.rglob("*") if path.is_file()]
        figures["disk MB"] = sum(path.stat().st_size for path in files) / 1e6
    with Checkpoints(workdir, param_labels) as checkpoints:
        started = time.perf_counter()
        assert checkpoints.restore(state, best=False) is not None
        figures["restore"] = time.perf_counter() - started
    return figures


def print_row(name: str, figures: dict[str, float]) -> None:
    names = ("step", "wait", "beside", "extra", "restore")
    seconds = [f"{figures[n]:.3f}" if n in figures else "-" for n in names]
    sizes = [f"{figures['MB']:.0f}", f"{figures['disk MB']:.0f}"]
    share = "-"
    if "step" in figures:
        share = f"{figures['extra'] / figures['step']:.1f}"
    print("|", " | ".join([name, *sizes, *seconds, share]), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--case", choices=CASES, action="append")
    names = parser.parse_args().case or [n for n, case in CASES.items() if case.adamw]
    device = f"{jax.devices()[0].device_kind}, {platform.machine()}"
    print(f"jax {jax.__version__}, {device}\n")
    print("| case | MB | MB on disk | step s | wait s | beside s | extra s | ", end="")
    print("restore s | extra in steps |\n|" + "---|" * 9)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            print_row(name, measure(CASES[name], Path(folder)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\npeak memory of the process: {peak:.1f} GB")


if __name__ == "__main__":
    main()
