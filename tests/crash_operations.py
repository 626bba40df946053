"""What is killed in the tests of crashes: each goes on where the killed one stopped.

Each takes the job and `started`, which it calls once the kill may come.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import signal
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from flax.training.train_state import TrainState
from helpers import TINY

from gpt2_jax import distributed
from gpt2_jax.checkpoints import checkpoint, manifest, step_folders
from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.checkpoints.manifest import Manifest
from gpt2_jax.cli import main as cli
from gpt2_jax.config import TrainConfig
from gpt2_jax.engine import trunk_cache
from gpt2_jax.engine.param_labels import FREEZE, TRAIN
from gpt2_jax.engine.texts import Texts
from gpt2_jax.errors import DataError
from gpt2_jax.export import classifier, tokenizer_files
from gpt2_jax.inference.output import resume_answers, write_answers
from gpt2_jax.inference.rows import Row
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.storage import download
from gpt2_jax.tokenizer import encoding
from gpt2_jax.weights import released
from gpt2_jax.weights.released import Mirror
from gpt2_jax.weights.trained import load_model, save_model

Job = dict[str, Any]
Started = Callable[[], object]

STEPS = 7
LABELS = {"head": {"kernel": TRAIN}, "trunk": {"kernel": FREEZE}}


def first_state() -> TrainState:
    """Return step 0; every leaf is numpy, so that nothing has to be compiled."""
    head = np.random.default_rng(0).normal(size=(64, 300)).astype(np.float32)
    params: Any = {
        "head": {"kernel": head},
        "trunk": {"kernel": np.ones(3, np.float32)},
    }
    moments = {"mu": np.zeros_like(head)}
    unused: Any = None
    return TrainState(
        step=0, apply_fn=unused, params=params, tx=unused, opt_state=moments
    )


def advance(state: TrainState) -> TrainState:
    """Take a step that depends on all steps before."""
    old, moments = cast(Any, state.params), cast(Any, state.opt_state)
    head, mu = old["head"]["kernel"], moments["mu"]
    mu = np.float32(0.9) * mu + np.sin(head)
    head = head - np.float32(0.1) * mu
    params = {**old, "head": {"kernel": head}}
    return state.replace(step=state.step + 1, params=params, opt_state={"mu": mu})


def train(workdir: Path, started: Started = lambda: None) -> tuple[int, TrainState]:
    """Go on from what is there, saving each step; return where that was, and the end.

    The scores fall, so that the best is not among the newest.
    """
    step_folders.remove_leftovers(workdir)
    with Checkpoints(workdir, LABELS) as checkpoints:
        restored = checkpoints.restore(first_state(), best=False)
        state = first_state() if restored is None else restored[0]
        begun = int(state.step)
        state = state.replace(step=begun)
        started()
        for step in range(begun + 1, STEPS + 1):
            state = advance(state)
            checkpoints.save(state, {"step": step}, 1 / step)
    return begun, state


def _save(job: Job, started: Started) -> int:
    """Train; the exit code is the step that was there."""
    if "at" in job:
        _die_at(job["at"])
    return train(Path(job["folder"]), started)[0]


def _write_manifests(job: Job, started: Started) -> None:
    """Write the manifest of a step again and again, each time with another number."""
    folder = Path(job["folder"]) / "7"
    folder.mkdir(exist_ok=True)
    started()
    for i in range(40):
        meta = {"i": i, "more": [i] * 2000}
        Manifest(7, None, meta, "", {}, {}, {}).write(folder)


def _write_models(job: Job, started: Started) -> None:
    """Write one model over the other, in turn."""
    models = [load_model(Path(run)) for run in job["runs"]]
    started()
    for i in range(6):
        save_model(Path(job["folder"]) / "model", models[i % 2])


def _keep_trunk(job: Job, started: Started) -> None:
    """Keep what stands for a trunk's outputs in a file; say what was in it."""

    def run_trunk(config: Any, params: Any, texts: Texts, depth: int, values: Any):
        started()
        for row in range(len(values)):
            values[row] = row + np.arange(values.shape[1])
        return dataclasses.replace(texts, values=values)

    trunk_cache.run_trunk = lambda *arguments, **_: run_trunk(*arguments[:5])
    one = np.ones(1, np.int32)
    texts = Texts(np.ones(40_000, np.int32), 0 * one, 40_000 * one, one, one, (1,))
    folder, config = Path(job["folder"]), TrainConfig(reuse_max_bytes=0)
    kept = trunk_cache.reuse_trunk(GPT2(TINY), {}, texts, config, 1, folder)
    assert kept is not None and isinstance(kept.values, np.memmap)
    (folder / "sha256").write_text(
        hashlib.sha256(np.ascontiguousarray(kept.values).data).hexdigest()
    )


def _export(job: Job, started: Started) -> None:
    """Write a folder for transformers; nothing is compiled to compare probabilities."""
    destination = Path(job["folder"]) / "out"
    classifier._step = lambda trained: lambda params, batch: np.zeros((1, 2))
    started()
    if not destination.exists():
        classifier.export_run(Path(job["run"]), destination, "hf")


def _download(job: Job, started: Started) -> None:
    """Fetch one file by its hash, and the weights of a released GPT-2."""
    folder, sha256 = Path(job["folder"]), job["sha256"]
    os.environ |= {"no_proxy": "127.0.0.1", "HF_ENDPOINT": job["url"]}
    os.environ["HF_HUB_CACHE"] = str(folder / "hub")
    download.CHUNK_BYTES = 1024
    mirror = Mirror("own/gpt2", revision="a" * 40, sha256=sha256)
    released.MIRRORS = {"124M": (mirror,)}
    started()
    if not (folder / "file").exists():
        urls, size = [job["url"] + "/file"], job["size"]
        download.download(
            urls, folder / "file", sha256=sha256, max_bytes=size, error=DataError
        )
    released.find("124M")


def _predict(job: Job, started: Started) -> None:
    """Answer windows of rows, as `gpt2-jax predict --output --resume` does."""
    path = Path(job["folder"]) / "answers.jsonl"
    rows = [Row(f"text {i}", id=i) for i in range(6000)]
    windows = [rows[i : i + 20] for i in range(0, len(rows), 20)]

    def answer(window: list[Row]) -> list[str]:
        fields = {"label": "a", "n_tokens": 2, "truncated": False}
        return [
            json.dumps({"id": row.id, **fields, "probs": {"a": 0.9, "b": 0.1}})
            for row in window
        ]

    started()
    write = resume_answers if path.exists() else write_answers
    sum(write(path, windows, answer))


def _finetune(job: Job, started: Started) -> int:
    """Be `gpt2-jax`, from its first line on."""
    distributed.HEARTBEAT_SECONDS = job.get("heartbeat", distributed.HEARTBEAT_SECONDS)
    started()
    return cli.main(job["arguments"])


OPERATIONS: dict[str, Callable[[Job, Started], int | None]] = {
    "save": _save,
    "manifest": _write_manifests,
    "model": _write_models,
    "trunk": _keep_trunk,
    "export": _export,
    "download": _download,
    "predict": _predict,
    "finetune": _finetune,
}


def warm_up() -> None:
    """Compute once what every fork needs."""
    encoding()
    tokenizer_files.vocabulary = functools.cache(tokenizer_files.vocabulary)
    tokenizer_files.vocabulary()


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(place: str) -> None:
    """Die at a place in the commit of the sixth step."""
    seen = []

    def sixth(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            seen.append(arguments)
            if len(seen) == 6:
                _die()
            return function(*arguments)

        return call

    if place == "renamed by orbax":
        checkpoint.check_leaves = sixth(checkpoint.check_leaves)
    elif place == "read back":
        checkpoint.hash_files = sixth(checkpoint.hash_files)
    elif place == "manifest half written":
        write_json = manifest.write_json

        def write_half(path: Path, values: dict[str, Any]) -> None:
            if values["step"] == 6:
                path.with_name(f".{path.name}.partial").write_text('{"form')
                _die()
            write_json(path, values)

        manifest.write_json = write_half
    elif place == "manifest written":
        step_folders.retain = sixth(step_folders.retain)
    elif place == "old step half removed":
        step_folders.shutil = types.SimpleNamespace(rmtree=_die)  # only theirs
    else:
        raise ValueError(place)
