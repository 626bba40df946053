"""One check of `device.py`, on the devices of this process; prints a line of JSON.

    python experiments/benchmarks/device_checks.py NAME --weights mini --folder DIR

Exit code 1: what must hold does not, and `failed` in the line says which.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from device_parity import BATCH, BOUNDS, parity

from gpt2_jax import (
    Callback,
    Classifier,
    DataConfig,
    FinetuneConfig,
    TrainConfig,
    finetune,
    to_classifier,
)
from gpt2_jax.config import LayoutConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.engine.forward import predict_step
from gpt2_jax.export.hugging_face import write_language_model
from gpt2_jax.model.attention import compiling_for, cuda_capability, fused_attention
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params, flatten
from gpt2_jax.plan.prepare import load_weights
from gpt2_jax.weights.trained import TrainedModel, load_model


def attention(arguments: argparse.Namespace) -> dict[str, Any]:
    """cuDNN's fused attention beside the plain one, where this device takes it."""
    model, params = _classifier(arguments, "bfloat16")
    width = min(128, model.config.max_len)
    tokens = np.random.default_rng(0).integers(0, 50000, (BATCH, width))
    batch = {"tokens": tokens.astype(np.int32), "lengths": np.full(BATCH, width)}

    def logits() -> np.ndarray:
        program = jax.jit(lambda p, b: predict_step(p, b, model=model))
        return np.asarray(program(params, batch), np.float32)

    fused = fused_attention(model.config, cuda_capability(), width, width)
    ours = logits()
    with compiling_for("no card"):
        plain = logits()
    error = float(np.abs(ours - plain).max())
    return {
        "taken": bool(fused),
        "logits: largest difference to the plain one": error,
        "failed": ["logits"] * (not error <= BOUNDS["bfloat16"][0]),
    }


def wrappers(arguments: argparse.Namespace) -> dict[str, Any]:
    """A short run under jit and under pmap, on all devices."""
    runs = {
        name: _run(_config(arguments, parallel=name), arguments.folder / name)
        for name in ("jit", "pmap")
    }
    jit, pmap = (
        np.asarray([row["loss"] for row in run.history if "loss" in row])
        for run in runs.values()
    )
    far = float(np.abs(jit - pmap).max())
    return {
        "steps": len(jit),
        "losses: largest difference": far,
        "failed": ["losses"] * (len(jit) != len(pmap) or not far <= 1e-3),
    }


# Without the figures, and the words that errors rest on.
_run = functools.partial(finetune, figures=False)


class _Stop(Exception):
    pass


class _StopsAfter(Callback):
    def on_epoch(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        raise _Stop


def resume(arguments: argparse.Namespace) -> dict[str, Any]:
    """A run that is stopped and goes on has the parameters of one that is not."""
    config = _config(arguments, epochs=2)
    whole, stopped = arguments.folder / "whole", arguments.folder / "stopped"
    _run(config, whole)
    try:
        _run(config, stopped, callbacks=[_StopsAfter()])
    except _Stop:
        _run(config, stopped, resume=True)
    ours, theirs = (flatten(load_model(run).params) for run in (stopped, whole))
    unlike = [p for p, leaf in theirs.items() if ours[p].tobytes() != leaf.tobytes()]
    return {"leaves": len(theirs), "leaves that differ": len(unlike), "failed": unlike}


def throughput(arguments: argparse.Namespace) -> dict[str, Any]:
    """`Classifier` on the shipped texts, tokenization included, once it is compiled."""
    model, params = _classifier(arguments, arguments.dtype)
    trained = TrainedModel(
        model.config, jax.tree.map(np.asarray, params), ("a", "b"), model.config.max_len
    )
    classifier, texts = Classifier(trained), _texts(arguments)
    classifier.predict_proba(texts)
    started = time.perf_counter()
    found = classifier.predict_proba(texts)
    seconds = time.perf_counter() - started
    tokens = sum(len(trained.tokenizer.encode(text)) for text in texts)
    return {
        "texts": len(found),
        "texts per second": round(len(texts) / seconds, 1),
        "tokens per second": round(tokens / seconds, 1),
        "failed": [] if np.isfinite(found).all() else ["probabilities"],
    }


def weights(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write what `--weights` names where the benchmarks can read it."""
    found, _ = load_weights(arguments.weights, LayoutConfig(), 0, offline=True)
    folder = arguments.folder / "hf"
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_language_model(folder, found.config, found.params)
    written = sum(file.stat().st_size for file in folder.iterdir())
    return {"bytes": written, "failed": []}


def _classifier(arguments: argparse.Namespace, dtype: str) -> tuple[GPT2, Params]:
    found, _ = load_weights(arguments.weights, LayoutConfig(), 0, offline=True)
    key = jax.random.key(0)
    return to_classifier(
        found.config, found.params, num_classes=2, key=key, dtype=dtype
    )


def _texts(arguments: argparse.Namespace) -> list[str]:
    texts = list(load_dataset(DataConfig(source="demo"), to_train=False).texts)
    return texts[: arguments.texts]


def _config(arguments: argparse.Namespace, **train: Any) -> FinetuneConfig:
    """Return a short run on the shipped texts, without what is not the device's."""
    return FinetuneConfig(
        weights=arguments.weights,
        data=DataConfig(source="demo", limit=arguments.texts),
        train=TrainConfig(**{"epochs": 1, "batch_size": 16, **train}),
        dtype=arguments.dtype,
        lexical=False,
        baselines="none",
    )


CHECKS: Mapping[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "parity": parity,
    "attention": attention,
    "wrappers": wrappers,
    "resume": resume,
    "throughput": throughput,
    "weights": weights,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*CHECKS])
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--dtype", default="float32", choices=[*BOUNDS])
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    found = CHECKS[arguments.name](arguments)
    devices = jax.local_devices()
    stats = devices[0].memory_stats() or {}
    found["device"] = f"{len(devices)} x {devices[0].device_kind}"
    found["device_peak_bytes"] = stats.get("peak_bytes_in_use")
    print(json.dumps(found))
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
