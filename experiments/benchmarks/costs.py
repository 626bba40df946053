"""What a run costs in what does not drift from machine to machine.

    python -m experiments.benchmarks.costs > experiments/benchmarks/costs.json

For each program of `mini` on one CPU device: flops and bytes by XLA's count (of a loop
its body once), and copies in what it compiled. For a run of one epoch on the demo:
programs compiled, and calls of train and predict. `tests/experiments/test_costs.py`
fails where a figure is above the one that is stored here for the same jaxlib.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.monitoring
import numpy as np

from gpt2_jax import finetune
from gpt2_jax.config import FinetuneConfig, GPT2Config, TrainConfig
from gpt2_jax.engine.resident import ResidentSteps
from gpt2_jax.engine.short import short_text_program
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.plan.abstract import abstract_run
from gpt2_jax.plan.aot import prepare
from gpt2_jax.training import loop

WIDTH = 64
MINI = GPT2Config(num_layers=12, embed_dim=256, num_heads=4, num_classes=2)


def program_costs() -> Iterator[tuple[str, dict[str, float]]]:
    """Yield what each program of `mini` costs, by its name and scope."""
    for scope in ("last_block", "all"):
        train = TrainConfig(trainable=(scope,))
        run = abstract_run(MINI, train)
        names = ["train", "evaluate"]
        if scope == "last_block":  # the others do not depend on it
            names += ["trunk", "predict"]
        for name in names:
            work = prepare(name, run, train, jax.local_devices()[:1], WIDTH)
            yield f"{name} {scope}", _costs_of(work.program, *work.arguments)
    tokens, lengths = np.zeros((1, WIDTH), np.int32), np.ones(1, np.int32)
    params = param_shapes(MINI)
    yield "one text", _costs_of(short_text_program(MINI), params, tokens, lengths)


def _costs_of(program: Any, *arguments: Any) -> dict[str, float]:
    compiled = program.lower(*arguments).compile()
    costs = compiled.cost_analysis()
    return {
        "flops": costs["flops"],
        "bytes": costs["bytes accessed"],
        "copies": compiled.as_text().count(" copy("),
    }


def run_costs() -> dict[str, float]:
    """Return how many programs a run compiles, for how many it waits, and its calls."""
    train = TrainConfig(epochs=1, devices=1)
    config = FinetuneConfig(baselines="none", lexical=False, train=train)
    with tempfile.TemporaryDirectory() as name, _calls() as calls:
        jax.clear_caches()
        finetune(config, Path(name) / "run", verbose=False)
    return dict(calls)


@contextmanager
def _calls() -> Iterator[Counter[str]]:
    """Count what is compiled in the block, and calls of the steps of a run."""
    calls: Counter[str] = Counter()

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            calls["programs"] += 1  # some of them beside the trunk
            calls["waits"] += threading.current_thread() is threading.main_thread()

    def counted(name: str) -> Any:
        method = getattr(ResidentSteps, name)  # of a wrapper that has both

        def call(*arguments: Any) -> Any:
            calls[name] += 1
            return method(*arguments)

        return mock.patch.object(ResidentSteps, name, call)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        # A call takes more steps as long as it is short: here, however slow they are.
        patient = mock.patch.object(loop, "CALL_SECONDS", float("inf"))
        with counted("train"), counted("predict"), patient:
            yield calls
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def costs() -> dict[str, Any]:
    """Return all figures, and the jaxlib that they are of."""
    return {
        "jaxlib": metadata.version("jaxlib"),
        "programs": dict(program_costs()),
        "run": run_costs(),
    }


if __name__ == "__main__":
    print(json.dumps(costs(), indent=1))
