"""`gpt2-jax adapt`: texts without labels become weights to fine-tune from."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from helpers import TINY, random_params, write_hugging_face, write_table
from tokenizers_of_others import tokenizer_json, vocabulary, write_folder
from training_helpers import error_line, random_run, shared_programs

from gpt2_jax.cli.main import main
from gpt2_jax.config import AdaptConfig, DataConfig, FinetuneConfig, from_stored
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.export.hugging_face import write_language_model
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import flatten
from gpt2_jax.plan.corpus import Corpus, prepare_corpus
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.training import language_model
from gpt2_jax.training.adapt import Adapted, adapt
from gpt2_jax.weights.pretrained import read_pretrained
from gpt2_jax.weights.tokenizer_folder import read_tokenizer
from gpt2_jax.workdir.signals import Interrupted

pytestmark = pytest.mark.slow  # runs, trained and compiled

VOCAB_SIZE = len(vocabulary()[0])
MODEL = dataclasses.replace(TINY, vocab_size=VOCAB_SIZE, max_len=64, num_layers=1)
SMALL = {"length": 16, "held_out": 0.2, "epochs": 3, "batch_size": 8, "devices": 1}


@pytest.fixture(scope="module", autouse=True)
def _compiled_once(tmp_path_factory) -> Iterator[None]:
    with shared_programs(tmp_path_factory.mktemp("programs")):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Weights with a tokenizer of their own, and a table of 60 texts."""
    folder = tmp_path_factory.mktemp("adapt")
    write_hugging_face(folder / "base", MODEL, random_params(MODEL))
    write_folder(folder / "base", tokenizer_json())
    write_table(folder / "texts.csv")
    return folder


def config_of(folder: Path, **changes: Any) -> AdaptConfig:
    usual = {"weights": str(folder / "base"), "learning_rate": 0.02, **SMALL}
    usual["data"] = DataConfig(source=str(folder / "texts.csv"))
    return AdaptConfig(**{**usual, **changes})


@pytest.fixture(scope="module")
def run(folder) -> Path:
    """A finished run; tests must not change it."""
    adapt(config_of(folder), folder / "run")
    return folder / "run"


def results(run: Path) -> dict[str, Any]:
    return json.loads((run / "results.json").read_text("utf-8"))


def lines(run: Path) -> list[dict[str, Any]]:
    found = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [
        {k: v for k, v in line.items() if k != "tokens_per_second"} for line in found
    ]


def plain_loss(corpus: Corpus, params: Any) -> float:
    """Return the mean loss of the held-out tokens that are followed by one."""
    tokens = corpus.held_out.batch(np.arange(len(corpus.held_out)))
    logits: Any = GPT2(corpus.model.config).apply({"params": params}, tokens[:, :-1])
    chosen = np.take_along_axis(
        np.asarray(jax.nn.log_softmax(logits)), tokens[:, 1:, None], axis=-1
    )
    return -float(chosen.mean())


def test_the_weights_are_those_with_the_lowest_loss_on_held_out_texts(folder, run):
    corpus, told = prepare_corpus(config_of(folder)), results(run)
    assert plain_loss(corpus, corpus.params) == pytest.approx(told["loss_before"], 1e-5)
    found = read_pretrained(run / "weights")
    assert plain_loss(corpus, found.params) == pytest.approx(told["loss_after"], 1e-5)
    assert told["loss_after"] < told["loss_before"] - 0.5
    measured = [line for line in lines(run) if "validation_loss" in line]
    assert len(measured) == 3
    best = min(measured, key=lambda line: line["validation_loss"])
    assert best["step"] == told["best_step"]
    assert best["validation_loss"] == pytest.approx(told["loss_after"], rel=1e-5)


def test_every_parameter_is_trained_and_the_embedding_stays_tied(folder, run):
    found = read_pretrained(run / "weights")
    assert found.config == MODEL and found.config.tied
    before = flatten(read_pretrained(folder / "base").params)
    after = flatten(found.params)
    assert after.keys() == before.keys()
    assert all(np.any(after[path] != leaf) for path, leaf in before.items())


@pytest.mark.slow
def test_weights_that_are_not_tied_train_their_head_too(folder, tmp_path):
    model = dataclasses.replace(MODEL, tied=False)
    params = random_params(model)
    own = read_tokenizer(folder / "base")
    write_language_model(tmp_path / "untied", model, params, own)
    config = config_of(folder, weights=str(tmp_path / "untied"), epochs=1)
    found = read_pretrained(adapt(config, tmp_path / "run").weights)
    assert found.config == model
    assert np.any(found.params["out_head"]["kernel"] != params["out_head"]["kernel"])


def test_a_run_is_fine_tuned_from_with_its_tokenizer(folder, run):
    data = DataConfig(source=str(folder / "texts.csv"))
    own = read_tokenizer(folder / "base")
    for weights in (run, run / "weights"):
        task = prepare(FinetuneConfig(weights=str(weights), data=data))
        assert own is not None and task.tokenizer.sha256 == own.sha256
        read = flatten(read_pretrained(run / "weights").params)
        body = {p: x for p, x in flatten(task.params).items() if "out_head" not in p}
        assert body.keys() == read.keys()
        for path, leaf in body.items():
            np.testing.assert_array_equal(leaf, read[path])


@pytest.mark.parametrize("stopped", [3, 5])  # 3 is saved in any case
def test_a_resumed_run_is_the_uninterrupted_one(folder, tmp_path, monkeypatch, stopped):
    config = config_of(folder, save_every=3, epochs=2)
    whole = adapt(config, tmp_path / "whole")
    choose = language_model.step_sequences

    def stop(count: int, size: int, step: int, seed: int) -> np.ndarray:
        if step == stopped - 1:
            signal.raise_signal(signal.SIGTERM)
        return choose(count, size, step, seed)

    with monkeypatch.context() as patch, pytest.raises(Interrupted) as told:
        patch.setattr(language_model, "step_sequences", stop)
        adapt(config, tmp_path / "parts")
    assert told.value.exit_code == 128 + signal.SIGTERM
    assert f"stopped at step {stopped}; go on with: gpt2-jax adapt" in str(told.value)
    parts = adapt(config, tmp_path / "parts", resume=True)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert results(tmp_path / "parts") == results(tmp_path / "whole")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        same = (parts.weights / name).read_bytes() == (
            whole.weights / name
        ).read_bytes()
        assert same, name


def test_a_finished_run_is_not_trained_again(folder, run, tmp_path, monkeypatch):
    again = tmp_path / "again"
    shutil.copytree(run, again)
    (again / "results.json").unlink()  # as if it was killed just before
    (again / "weights" / "config.json").unlink()
    found = adapt(config_of(folder), again, resume=True)
    assert results(again) == results(run)
    assert found == dataclasses.replace(found, weights=again / "weights")
    monkeypatch.setattr("gpt2_jax.training.adapt.train_language_model", None)
    assert adapt(config_of(folder), again, resume=True) == found
    assert isinstance(found, Adapted)


def test_texts_count_once_and_stay_on_one_side(folder, tmp_path):
    texts = [f"text {i % 20}" for i in range(60)] + ["", " "]
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(texts), "utf-8")
    config = config_of(folder, data=DataConfig(source=str(path)))
    corpus = prepare_corpus(config)
    own = corpus.tokenizer

    def documents(tokens: np.ndarray) -> set[str]:
        ends = np.flatnonzero(tokens == own.end_id) + 1
        assert ends[-1] == len(tokens)
        return {own.decode(d[:-1].tolist()) for d in np.split(tokens, ends)[:-1]}

    train, held_out = (
        documents(part.shards[0]) for part in (corpus.train, corpus.held_out)
    )
    assert len(train) == 16 and len(held_out) == 4
    assert train | held_out == set(texts[:20])
    assert "data: 40 left out: empty, or there already" in corpus.told


def test_of_a_split_that_is_given_the_training_part_is_read(folder, tmp_path):
    for part in ("train", "validation", "test"):
        rows = [f"{part} text {i}" for i in range(6)]
        (tmp_path / f"{part}.csv").write_text("\n".join(["text", *rows]), "utf-8")
    corpus = prepare_corpus(config_of(folder, data=DataConfig(source=str(tmp_path))))
    ids = np.concatenate([corpus.train.shards[0], corpus.held_out.shards[0]])
    text = corpus.tokenizer.decode(ids.tolist())
    assert text.count("train text") == 6 and "test text" not in text
    assert "data: 12 left out, which are no part of the training" in corpus.told


def test_what_reads_labels_is_refused():
    with pytest.raises(ValueError, match="omit --label-column, --balance"):
        AdaptConfig(data=DataConfig(label_column="kind", balance="weights"))
    with pytest.raises(ValueError, match="batch_size=16 is not divisible"):
        AdaptConfig(accumulate=3)


def test_bad_inputs_are_one_line(folder, run, tmp_path, capsys):
    (tmp_path / "one.txt").write_text("a text\na text\n", "utf-8")
    classifier = random_run(tmp_path / "classifier")
    given = ["--weights", str(folder / "base"), "--data", str(folder / "texts.csv")]
    refused = {
        "no such file": (["--data", str(tmp_path / "none.csv")], 4),
        "1 different texts to train on": (["--data", str(tmp_path / "one.txt")], 4),
        "has 64 positions": ([*given, "--length", "65"], 2),
        "a classifier; give the language model": (
            [*given, "--weights", str(classifier)],
            5,
        ),
        "not divisible by 2 devices": (
            [*given, "--batch-size", "7", "--devices", "2"],
            2,
        ),
        "held_out=1.0": ([*given, "--held-out", "1"], 2),
        "--resume needs the --workdir": ([*given, "--resume"], 2),
        "holds a run already": ([*given, "--workdir", str(run)], 2),
        "was started with another config": (
            [*given, "--workdir", str(run), "--resume"],
            2,
        ),
    }
    workdir = ["--workdir", str(tmp_path / "run")]
    for message, (flags, code) in refused.items():
        where = [] if {"--resume", "--workdir"} & {*flags} else workdir
        assert message in error_line(capsys, ["adapt", *flags, *where], code)


@pytest.mark.slow
def test_the_command_says_what_it_brought(folder, tmp_path, capsys):
    argv = ["adapt", "--weights", str(folder / "base"), "--length", "16"]
    argv += ["--data", str(folder / "texts.csv"), "--epochs", "1", "--devices", "1"]
    workdir = tmp_path / "a run"
    argv += ["--workdir", str(workdir), "--no-compilation-cache"]
    assert main(argv) == 0
    out, told = capsys.readouterr().out, results(workdir)
    assert f"{told['loss_before']:.4f} nats per token before" in out
    assert f"gpt2-jax finetune --weights '{workdir}/weights'" in out
    config = ["--config", str(workdir / "config.json"), "--no-compilation-cache"]
    assert main(["adapt", *config, "--workdir", str(workdir), "--resume"]) == 0
    assert "already complete" in capsys.readouterr().out


def test_finetune_adapts_first_and_reads_nothing_that_validates_or_tests(
    folder, tmp_path, capsys
):
    data = ["--data", str(folder / "texts.csv")]
    run = tmp_path / "mail"
    command = ["finetune", *data, "--weights", str(folder / "base"), "--device", "cpu"]
    command += ["--workdir", str(run), "--max-length", "16", "--epochs", "1", "--adapt"]
    assert main([*command, "--devices", "1"]) == 0
    config = from_stored(FinetuneConfig, json.loads((run / "config.json").read_text()))
    assert config.weights == str(tmp_path / "mail-adapted" / "run" / "weights")
    lines = (tmp_path / "mail-adapted" / "texts.jsonl").read_text().splitlines()
    read = {json.loads(line)["text"] for line in lines}
    dataset = load_dataset(config.data)
    parts = split_dataset(dataset, config.data).parts()
    texts = {part: {dataset.texts[r] for r in rows} for part, rows in parts.items()}
    assert read == texts["train"]
    # Once more, it goes on with what is there.
    results = (run / "results.json").read_text()
    assert main([*command, "--devices", "1", "--resume"]) == 0
    assert (run / "results.json").read_text() == results
    assert capsys.readouterr().out.count("already complete") == 2
    # Of a file with all texts it takes what the run is not measured by.
    other = ["--adapt", str(folder / "texts.csv"), "--workdir", str(tmp_path / "two")]
    assert main([*command[:-1], *other, "--devices", "1"]) == 0
    lines = (tmp_path / "two-adapted" / "texts.jsonl").read_text().splitlines()
    assert {json.loads(line)["text"] for line in lines} == read


@pytest.mark.parametrize(
    "flags",
    [["--dry-run"], ["--compile-only"], ["--distributed"], []],
    ids=lambda flags: " ".join(flags) or "no workdir",
)
def test_adapting_first_is_refused_where_it_would_be_left_out(flags, tmp_path, capsys):
    workdir = ["--workdir", str(tmp_path / "run")] if flags else []
    line = error_line(capsys, ["finetune", *flags, *workdir, "--adapt"], 2)
    shown = {"--distributed": "several processes"}
    assert "--adapt" in line
    assert all(shown.get(flag, flag) in line for flag in flags or ["--workdir"])
    assert not list(tmp_path.iterdir())
