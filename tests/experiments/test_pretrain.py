"""experiments/pretrain: text files to a base model that `finetune` reads."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_params

from experiments.pretrain import train as module
from experiments.pretrain.config import PretrainConfig
from experiments.pretrain.export import export
from experiments.pretrain.shard import read_sequences, write_shards
from experiments.pretrain.steps import create_schedule, init_state, read_weights
from experiments.pretrain.train import train
from gpt2_jax.engine.jit import make_mesh
from gpt2_jax.engine.language_model import compile_programs, sequence_losses
from gpt2_jax.engine.sequences import step_sequences
from gpt2_jax.errors import DataError, UserError
from gpt2_jax.export.hugging_face import write_language_model
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import flatten
from gpt2_jax.tokenizer import END_OF_TEXT, decode
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.workdir.metrics_log import MetricsLog

ROOT = Path(__file__).parents[2]
CONFIG = PretrainConfig(
    length=16,
    embed_dim=8,
    num_layers=1,
    num_heads=2,
    dtype="float32",
    batch_size=8,
    steps=12,
    learning_rate=0.02,
    warmup_steps=2,
    log_every=4,
    validate_every=6,
    validation_windows=11,
    save_every=6,
)


@pytest.fixture(scope="session")
def tokens(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrain") / "tokens"
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs"]
    write_shards(pages, folder, validation_every=6, shard_tokens=4000)
    return folder


def test_shards_hold_the_documents_and_an_end_behind_each(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("first é <|endoftext|>", "utf-8")
    (tmp_path / "in" / "b.jsonl").write_text(
        '{"text": "second"}\n{"text": ""}\n{"text": "third"}\n', "utf-8"
    )
    (tmp_path / "in" / "c.bin").write_bytes(b"\0")
    output = tmp_path / "out"
    manifest = write_shards(
        [tmp_path / "in"], output, validation_every=2, shard_tokens=1
    )
    assert manifest["documents"] == 3
    found = {path.name: np.load(path) for path in output.glob("*.npy")}
    assert {name: decode(shard[:-1].tolist()) for name, shard in found.items()} == {
        "train-00000.npy": "first é <|endoftext|>",  # in a text it is plain text
        "validation-00000.npy": "second",
        "train-00001.npy": "third",
    }
    for shard in found.values():
        assert shard.dtype == np.uint16
        assert np.flatnonzero(shard == END_OF_TEXT).tolist() == [len(shard) - 1]


def test_damaged_or_missing_shards_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"python -m experiments\.pretrain\.shard"):
        read_sequences(tmp_path, "train", 4)
    (tmp_path / "a.txt").write_text("some words\n" * 9)
    with pytest.raises(DataError, match="1 documents, none for validation"):
        write_shards([tmp_path], tmp_path / "out", validation_every=2, shard_tokens=9)
    (tmp_path / "b.txt").write_text("some words\n" * 9)
    write_shards([tmp_path], tmp_path / "out", validation_every=2, shard_tokens=9)
    with pytest.raises(DataError, match="no train shard has 1001 tokens"):
        read_sequences(tmp_path / "out", "train", 1000)
    shard = tmp_path / "out" / "train-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"train-00000\.npy: missing or damaged"):
        read_sequences(tmp_path / "out", "train", 4)


@pytest.mark.parametrize(("decay", "middle"), [("linear", 0.5), ("cosine", 0.5)])
def test_the_rate_warms_up_holds_and_falls_to_zero(decay, middle):
    config = dataclasses.replace(
        CONFIG, steps=100, warmup_steps=10, hold=0.4, decay=decay
    )
    rate = create_schedule(config, 1.0)
    steps = (0, 5, 10, 40, 70, 100)
    assert [np.asarray(rate(s)).item() for s in steps] == pytest.approx(
        [0, 0.5, 1, 1, middle, 0], abs=1e-6
    )


def without_time(run: Path) -> list[dict]:
    text = (run / "metrics.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return [
        {name: value for name, value in line.items() if name != "tokens_per_second"}
        for line in lines
    ]


@pytest.mark.slow
def test_a_few_pages_become_weights_whether_or_not_it_was_broken_off(
    tokens, tmp_path, monkeypatch
):
    """The loss falls, a resumed run is the uninterrupted one to the bit, and what is
    exported gives the same logits.
    """
    run, parts, write = tmp_path / "run", tmp_path / "parts", MetricsLog.write
    state = train(CONFIG, tokens, run, devices=1)
    lines = without_time(run)
    assert lines[0]["loss"] == pytest.approx(math.log(50257), abs=0.05)
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5
    held_out = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert held_out[1] < held_out[0] < lines[0]["loss"]

    def broken_off(log, **line):
        if line["step"] == 8:
            raise KeyboardInterrupt
        write(log, **line)

    monkeypatch.setattr(MetricsLog, "write", broken_off)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, tokens, parts, devices=1)
    monkeypatch.setattr(MetricsLog, "write", write)
    resumed = train(CONFIG, tokens, parts, devices=1, resume=True)
    for leaf, other in zip(*map(jax.tree.leaves, (state, resumed)), strict=True):
        np.testing.assert_array_equal(leaf, other)
    assert without_time(parts) == lines

    assert "bit-equal" in export(parts, tmp_path / "weights")
    config, params = load_pretrained(tmp_path / "weights")
    assert config == CONFIG.model
    text = np.arange(32).reshape(2, 16)
    np.testing.assert_array_equal(
        GPT2(config).apply({"params": params}, text),
        GPT2(CONFIG.model).apply({"params": state.params}, text),
    )


def base_weights(folder: Path, **changes) -> tuple[Path, dict]:
    """Write a tiny language model of 32 positions; return where, and its params."""
    config = dataclasses.replace(CONFIG, positions=32, **changes)
    params = jax.tree.map(np.asarray, init_state(config).params)
    write_language_model(folder, config.model, params)
    return folder, params


@pytest.mark.slow
def test_it_goes_on_from_pretrained_weights(tokens, tmp_path):
    folder, params = base_weights(tmp_path / "base", seed=5, num_layers=2)
    config = dataclasses.replace(CONFIG, num_layers=12, weights=str(folder))
    run = tmp_path / "run"
    train(dataclasses.replace(config, steps=4), tokens, run, devices=1)
    first = read_sequences(tokens, "train", CONFIG.length)
    batch = first.batch(step_sequences(len(first), CONFIG.batch_size, 0, CONFIG.seed))
    model = dataclasses.replace(CONFIG.model, num_layers=2, max_len=32)
    expected = sequence_losses(params, jnp.asarray(batch), model=GPT2(model)).mean()
    lines = without_time(run)
    assert lines[0]["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert lines[-1]["loss"] < lines[0]["loss"]

    shutil.rmtree(folder)  # what was trained stands in the checkpoint
    export(run, tmp_path / "weights")
    exported, trained = load_pretrained(tmp_path / "weights")
    assert exported == model
    moved = {
        path: bool(np.any(leaf != flatten(params)[path]))
        for path, leaf in flatten(trained).items()
    }
    assert all(moved.values())


def test_weights_of_other_sizes_are_refused(tmp_path):
    folder, _ = base_weights(tmp_path / "base")
    config = dataclasses.replace(CONFIG, weights=str(folder))
    assert read_weights(config)[0].model == dataclasses.replace(
        CONFIG.model, max_len=32
    )
    refused = {
        "has embed_dim 8, not the 16": {"embed_dim": 16},
        "positions=32 must not be below length=33": {"length": 33},
    }
    for message, changes in refused.items():
        with pytest.raises(UserError, match=message):
            read_weights(dataclasses.replace(config, **changes))
    model = dataclasses.replace(CONFIG.model, tied=False)
    write_language_model(tmp_path / "untied", model, random_params(model))
    untied = dataclasses.replace(CONFIG, weights=str(tmp_path / "untied"))
    with pytest.raises(UserError, match="expected a language model"):
        read_weights(untied)


def test_a_run_is_not_overwritten_and_another_one_not_resumed(tokens, tmp_path):
    claim = functools.partial(module._claim, CONFIG, tokens, tmp_path)
    claim(resume=False)
    claim(resume=True)
    with pytest.raises(UserError, match="--resume, or another folder"):
        claim(resume=False)
    other = dataclasses.replace(CONFIG, learning_rate=1.0)
    with pytest.raises(UserError, match=r"began with learning_rate 0\.02, not 1\.0"):
        module._claim(other, tokens, tmp_path, resume=True)


@pytest.mark.slow
def test_two_devices_and_parts_of_a_batch_take_the_same_steps(tokens):
    adamw = dataclasses.replace(CONFIG, optimizer="adamw")
    sequences = read_sequences(tokens, "train", CONFIG.length)
    order = [step_sequences(len(sequences), 8, step, 0) for step in range(3)]
    batches = [sequences.batch(rows) for rows in order]

    def run(devices: int, accumulate: int):
        mesh = make_mesh(jax.devices()[:devices])
        programs = compile_programs(GPT2(CONFIG.model), mesh, accumulate)
        state, losses = programs.place(init_state(adamw)), []
        for batch in batches:
            state, loss = programs.train(state, programs.cut(batch))
            losses.append(float(loss))
        held = programs.losses(state.params, programs.cut(batches[0]))
        return flatten(jax.tree.map(np.asarray, state.params)), losses, held

    params, losses, held = run(1, 1)
    other = run(2, 2)
    np.testing.assert_allclose(other[1], losses, rtol=1e-5)
    np.testing.assert_allclose(other[2], held, rtol=1e-4)
    for path, leaf in params.items():
        np.testing.assert_allclose(other[0][path], leaf, atol=2e-4, err_msg=path)
