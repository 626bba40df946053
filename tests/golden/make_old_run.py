"""Write runs of commit 5402091, finished and stopped halfway, for test_old_run.py.

    git worktree add /tmp/old 5402091
    PYTHONPATH=/tmp/old python tests/golden/make_old_run.py

Made with Python 3.11.7 and jax 0.10.2. Later versions must read what it wrote, so it is
not to be made again by newer code: that would prove nothing.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import os
import signal
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from gpt2_jax.config import DataConfig, FinetuneConfig, TrainConfig

ARCHIVE = Path(__file__).parent / "old_run" / "runs.tar.xz"
LAYERS, POSITIONS, VOCAB = 2, 64, 50257
# The square roots of 16 and 64 make the new leaves alike however XLA rounds.
WIDTH = 16
PERIOD = 97  # rows of wte repeat, for a small archive
STOP = 7  # in the middle of the second of two epochs of 5 steps

CONFIG = FinetuneConfig(
    weights="weights",
    data=DataConfig(source="texts.csv"),
    train=TrainConfig(epochs=2, eval_every=3, learning_rate=3e-2, devices=1),
)
RUNS = {
    "last_block": dataclasses.replace(
        CONFIG, train=dataclasses.replace(CONFIG.train, keep="best")
    ),
    "lora": dataclasses.replace(
        CONFIG,
        pool="mean",
        causal=False,
        train=dataclasses.replace(CONFIG.train, trainable=("lora",), lora_rank=2),
    ),
}


def write_weights(folder: Path) -> None:
    """Write a tiny random GPT-2 as Hugging Face does."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(0.05, 0.3, shape).astype(np.float32)

    state = {
        "wte.weight": normal(PERIOD, WIDTH)[np.arange(VOCAB) % PERIOD],
        "wpe.weight": normal(POSITIONS, WIDTH),
    }
    for i in range(LAYERS):
        for name, rows, columns in (
            ("attn.c_attn", WIDTH, 3 * WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, 4 * WIDTH),
            ("mlp.c_proj", 4 * WIDTH, WIDTH),
        ):
            state[f"h.{i}.{name}.weight"] = normal(rows, columns)
            state[f"h.{i}.{name}.bias"] = normal(columns)
    for name in [f"h.{i}.ln_{n}" for i in range(LAYERS) for n in (1, 2)] + ["ln_f"]:
        state[f"{name}.weight"] = 1 + normal(WIDTH)
        state[f"{name}.bias"] = normal(WIDTH)
    folder.mkdir()
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    values = {
        "model_type": "gpt2",
        "vocab_size": VOCAB,
        "n_positions": POSITIONS,
        "n_embd": WIDTH,
        "n_layer": LAYERS,
        "n_head": 2,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
    }
    (folder / "config.json").write_text(json.dumps(values))


def write_texts(path: Path) -> None:
    """Write 60 texts that a tiny model can learn to tell apart."""
    words = (("lunch", "home", "tonight"), ("prize", "cash", "free"))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(60):
            own = words[i % 2][i // 2 % 3 :]
            text = " ".join([str(i), *own * (1 + i % 4)])
            writer.writerow([text, ("ham", "spam")[i % 2]])


def write_stopped(config: FinetuneConfig, workdir: Path) -> None:
    """Run until a SIGTERM comes during step `STOP`."""
    epochs: Any = importlib.import_module("gpt2_jax.training.epochs")  # as it was
    watch = importlib.import_module("gpt2_jax.training.watch")
    after, steps = epochs.Trainer._after, epochs.MAX_STEPS

    def stop(self: Any, metrics: Any, state: Any, now: int, *rest: Any, **saved: Any):
        if now == STOP:
            os.kill(os.getpid(), signal.SIGTERM)
        return after(self, metrics, state, now, *rest, **saved)

    epochs.Trainer._after, epochs.MAX_STEPS = stop, 1
    try:
        finetune(config, workdir)
    except watch.Interrupted as stopped:
        print(stopped)
    finally:
        epochs.Trainer._after, epochs.MAX_STEPS = after, steps


def finetune(config: FinetuneConfig, workdir: Path) -> None:
    importlib.import_module("gpt2_jax.training.loop").finetune(config, workdir)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)  # the configs name weights and texts without a folder
        write_weights(Path("weights"))
        write_texts(Path("texts.csv"))
        for run, config in RUNS.items():
            finetune(config, Path(run))
            write_stopped(config, Path(f"{run}_stopped"))
        for path in Path().rglob("*.png"):
            path.unlink()
        ARCHIVE.parent.mkdir(exist_ok=True)
        ARCHIVE.unlink(missing_ok=True)
        with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
            for path in sorted(Path().iterdir()):
                archive.add(path)
        print(ARCHIVE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
