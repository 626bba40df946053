"""A tiny GPT-2 on disk, labelled texts that it can learn, and runs of both."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.monitoring
import numpy as np
import optax
import pytest
from helpers import TINY, random_params, write_hugging_face
from jax.experimental.compilation_cache import compilation_cache

from gpt2_jax.cli.main import main
from gpt2_jax.config import DataConfig, FinetuneConfig, TrainConfig
from gpt2_jax.engine.param_labels import FREEZE, TRAIN, label_params
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.engine.texts import Texts, lay_out
from gpt2_jax.model.gpt2 import GPT2, to_classifier
from gpt2_jax.model.lora import add_adapters
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.tree import Params, split_params
from gpt2_jax.tokenizer import VOCAB_SIZE
from gpt2_jax.training.finetune import finetune
from gpt2_jax.weights.trained import TrainedModel, save_model

NUM_LAYERS = TINY.num_layers
# What the fine-tuning command needs: the real vocabulary.
ON_DISK = dataclasses.replace(TINY, vocab_size=VOCAB_SIZE, max_len=64)

_ENDINGS = (
    ("see you at lunch", "running late", "are you home", "call mum tonight"),
    ("win a free prize", "claim your cash", "free entry now", "urgent prize"),
)


def make_classifier(
    trainable: str = "last_block", *, num_classes: int = 2, **changes: Any
) -> tuple[GPT2, Params]:
    """Return a tiny classifier, with adapters where `trainable` is lora."""
    lora = trainable == "lora"
    model, params = to_classifier(
        TINY,
        random_params(TINY),
        num_classes=num_classes,
        key=jax.random.key(8),
        lora_rank=2 if lora else 0,
        lora_alpha=4.0,
        **changes,
    )
    if lora:
        params = add_adapters(params, model.config, jax.random.key(9))
    return model, params


@dataclasses.dataclass(frozen=True)
class Padded:
    """Texts as a rectangle, which the ragged ones are compared with."""

    tokens: np.ndarray  # int32 [N, T]
    lengths: np.ndarray  # int32 [N]
    labels: np.ndarray  # int32 [N]

    def ids(self, *, padded: bool = False) -> list[list[int]]:
        """Return the ids of each text; `padded`: with its padding."""
        whole = np.full_like(self.lengths, self.tokens.shape[1])
        sizes = whole if padded else self.lengths
        return [r[:n].tolist() for r, n in zip(self.tokens, sizes, strict=True)]


def make_padded(num: int = 16, width: int = 16, *, num_classes: int = 2) -> Padded:
    """Return random token sequences of 1 to `width` tokens."""
    random = np.random.default_rng(3)
    pad = TINY.vocab_size - 1
    lengths = random.integers(1, width + 1, num).astype(np.int32)
    lengths[0] = width
    tokens = random.integers(0, pad, (num, width)).astype(np.int32)
    tokens[np.arange(width)[None] >= lengths[:, None]] = pad
    labels = random.integers(0, num_classes, num).astype(np.int32)
    return Padded(tokens, lengths, labels)


def make_texts(num: int = 16, width: int = 16, *, pool: str = "last_real") -> Texts:
    """Return `make_padded` as the steps read them, all of weight 1."""
    padded = make_padded(num, width)
    ids = padded.ids(padded=POOLS[pool].reads_padding)
    return lay_out(ids, limit=width, labels=padded.labels)


CLASS_WEIGHTS = np.asarray([0.3, 2.7], np.float32)


def uneven_texts(num: int, pool: str = "last_real") -> Texts:
    """Return `make_texts` with a weight for each class."""
    texts = make_texts(num, pool=pool)
    return dataclasses.replace(texts, loss_weights=CLASS_WEIGHTS[texts.labels])


def start_with_sgd(scope: str, pool: str, *, depth: int = 0, **changes: Any):
    """Return model, params and their labels above the trunk, and a state with SGD.

    Adam hides a gradient that is too large by a factor, and makes steps of rounding
    noise; SGD does neither.
    """
    model, params = make_classifier(scope, pool=pool, **changes)
    labels = label_params(params, scope, NUM_LAYERS)
    _, params = split_params(params, NUM_LAYERS, depth)
    _, labels = split_params(labels, NUM_LAYERS, depth)
    tx = optax.multi_transform(
        {TRAIN: optax.sgd(0.1), FREEZE: optax.set_to_zero()}, labels
    )
    return model, params, labels, create_train_state(model, params, tx)


def as_texts(batch: dict[str, np.ndarray]) -> Texts:
    """Return a batch as texts of its own, all as wide as it."""
    values = batch["features"] if "features" in batch else batch["tokens"]
    size, width = values.shape[:2]
    return Texts(
        values=values.reshape(size * width, *values.shape[2:]),
        starts=np.arange(size, dtype=np.int32) * width,
        lengths=batch["lengths"],
        labels=batch["labels"],
        loss_weights=batch["loss_weights"],
        widths=(width,),
    )


@contextlib.contextmanager
def shared_programs(folder: Path) -> Iterator[None]:
    """Compile each program of the runs in the block once, whatever their number."""
    values = {
        "jax_compilation_cache_dir": str(folder),
        "jax_enable_compilation_cache": True,
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in values}
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


@contextlib.contextmanager
def compilations() -> Iterator[Counter[str]]:
    """Count what is compiled in the block, by the name of the function."""
    counts: Counter[str] = Counter()

    def listen(event: str, duration_secs: float, **names: Any) -> None:
        if event.endswith("backend_compile_duration"):
            counts[names["fun_name"].removeprefix("jit(").removesuffix(")")] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield counts
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def write_texts(
    path: Path, *, num: int = 60, classes: Sequence[str] = ("ham", "spam")
) -> Path:
    """Write a CSV of `num` different texts, in turn of each class."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(num):
            ending = _ENDINGS[i % len(classes) % 2][i // 2 % 4]
            writer.writerow([f"{i} {'ha ' * (i % 7)}{ending}", classes[i % 2]])
    return path


def weights(factory: pytest.TempPathFactory) -> Path:
    """Return the Hugging Face folder of a random GPT-2 with the real vocabulary."""
    folder = factory.getbasetemp() / "weights"
    if not folder.is_dir():
        write_hugging_face(folder, ON_DISK, random_params(ON_DISK))
    return folder


def texts(factory: pytest.TempPathFactory) -> Path:
    path = factory.getbasetemp() / "texts.csv"
    return path if path.is_file() else write_texts(path)


def run_config(factory: pytest.TempPathFactory, **train: Any) -> FinetuneConfig:
    """Return a config of 2 epochs of 5 steps; `train` are fields of TrainConfig."""
    fields = {"epochs": 2, "eval_every": 3, "learning_rate": 1e-2, "keep": "best"}
    fields |= {"schedule": "constant", "devices": 1, **train}
    return FinetuneConfig(
        weights=str(weights(factory)),
        data=DataConfig(source=str(texts(factory))),
        train=TrainConfig(**fields),
        lexical=False,
    )


def finished_run(factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run; tests must not change it."""
    workdir = factory.getbasetemp() / "finished_run"
    if not workdir.is_dir():
        finetune(run_config(factory), workdir)
    return workdir


def losses(workdir: Path) -> list[tuple[int, float]]:
    """Return (step, loss) of every training step in metrics.jsonl."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def random_run(
    folder: Path,
    *,
    classes: Sequence[str] = ("ham", "spam"),
    max_length: int = 20,
    **changes: Any,
) -> Path:
    """Write the model of a run that was not trained; its head has a large bias."""
    model, params = to_classifier(
        ON_DISK,
        random_params(ON_DISK),
        num_classes=len(classes),
        key=jax.random.key(1),
        **changes,
    )
    head = params["out_head"]
    head["kernel"] *= 30.0  # texts differ in their probabilities
    head["bias"] = np.linspace(-0.7, 0.9, len(classes), dtype=np.float32)
    params = jax.tree.map(np.asarray, params)
    trained = TrainedModel(model.config, params, tuple(classes), max_length)
    save_model(folder / "model", trained)
    return folder


def error_line(capsys: pytest.CaptureFixture[str], argv: list[str], code: int) -> str:
    """Run a command that must fail with `code`; return the one line that it says."""
    assert main([*argv, "--no-compilation-cache"]) == code
    error = capsys.readouterr().err
    assert error.startswith("gpt2-jax: error: ") and error.count("\n") == 1, error
    return error
