"""Classifiers of other programs, by every command that uses a classifier."""

import argparse
import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
from helpers import TINY, random_params, write_hugging_face
from tokenizers_of_others import vocabulary, write_folder
from training_helpers import random_run

from gpt2_jax.cli.flags import leaves
from gpt2_jax.cli.main import build_parser, main
from gpt2_jax.config import LayoutConfig
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.serve import server
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.rules import HUGGING_FACE, LLMS_FROM_SCRATCH
from gpt2_jax.weights.tokenizer_folder import read_tokenizer

CONFIG = dataclasses.replace(TINY, vocab_size=len(vocabulary()[0]), num_classes=2)
TEXTS = ["free entry now", "are you home", ""]


@pytest.fixture(scope="module")
def params():
    return random_params(CONFIG)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, params):
    """A GPT2ForSequenceClassification, its tokenizer beside it."""
    folder = tmp_path_factory.mktemp("hf")
    body = {name: leaf for name, leaf in params.items() if name != "out_head"}
    write_hugging_face(folder, CONFIG, body)
    state = to_state_dict(body, HUGGING_FACE)
    state["score.weight"] = np.ascontiguousarray(params["out_head"]["kernel"].T)
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    values = json.loads((folder / "config.json").read_text())
    values["id2label"] = {"0": "ham", "1": "spam"}
    (folder / "config.json").write_text(json.dumps(values))
    return write_folder(folder)


@pytest.fixture(scope="module")
def book(tmp_path_factory, params):
    """A file of the book, and the flags that say what it does not."""
    path = tmp_path_factory.mktemp("book") / "review_classifier.safetensors"
    safetensors.numpy.save_file(to_state_dict(params, LLMS_FROM_SCRATCH), path)
    own = write_folder(path.parent / "tokenizer")
    flags = ["--num-heads", "2", "--tokenizer", str(own), "--max-length", "9"]
    return path, [*flags, "--class", "ham", "--class", "spam"]


def _commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(action.choices)


def test_every_command_that_reads_weights_is_told_what_they_do_not_say():
    flags = {leaf.flag for leaf in leaves(LayoutConfig())} | {"--offline"}
    for name, parser in _commands().items():
        has = flags <= set(parser._option_string_actions)
        # runs of ours alone, or no weights at all
        ours = ("threshold", "runs", "compare", "label-errors")
        none = ("check", "tpu-check", "inspect", "doctor")
        assert has == (name not in (*ours, *none)), name


def _predicted(capsys, path, *flags):
    assert main(["predict", str(path), *TEXTS, *flags]) == 0
    return capsys.readouterr().out


def test_predict_takes_hugging_faces(folder, capsys):
    expected = Classifier.from_weights(folder).predict_proba(TEXTS)
    line = _predicted(capsys, folder, "--top-k", "2").splitlines()[0]
    assert {"ham", "spam"} <= set(line.replace(",", " ").split())
    assert f"{expected[0].max():.4f}" in line


@pytest.mark.slow
def test_predict_takes_the_books_when_it_is_told_the_rest(book, capsys):
    path, flags = book
    line = _predicted(capsys, path, *flags, "--naming", "llms-from-scratch")
    told = Classifier.from_weights(
        path,
        classes=["ham", "spam"],
        max_length=9,
        num_heads=2,
        tokenizer=path.parent / "tokenizer",
    )
    assert f"{told.predict_proba(TEXTS)[0].max():.4f}" in line
    assert main(["predict", str(path), "a text", *flags[2:]]) == 5
    assert "give num_heads" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_needs_data_and_reads_it(folder, tmp_path, capsys):
    assert main(["evaluate", str(folder)]) == 2
    assert "give labelled texts with --data" in capsys.readouterr().err
    labels = Classifier.from_weights(folder).predict(TEXTS[:2])
    rows = [f"{t},{label}" for t, label in zip(TEXTS, labels, strict=False)]
    table = tmp_path / "x.csv"
    table.write_text("\n".join(["text,label", *rows, "no,ham", "no,spam"]) + "\n")
    assert main(["evaluate", str(folder), "--data", str(table)]) == 0
    assert "accuracy 75.00%" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["hf", pytest.param("onnx", marks=pytest.mark.slow)])
def test_export_writes_what_reads_the_same(folder, tmp_path, to, capsys):
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    argv = ["export", str(folder), str(tmp_path / "x"), "--format", to]
    assert main(argv) == 0
    assert "largest difference of a probability" in capsys.readouterr().out
    tokens, own = (read_tokenizer(path) for path in (tmp_path / "x", folder))
    assert tokens is not None and own is not None and tokens.tokens == own.tokens
    if to == "hf":
        got, expected = (
            Classifier.from_weights(path).predict_proba(TEXTS[:2])
            for path in (tmp_path / "x", folder)
        )
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_serve_answers_with_it(folder, monkeypatch):
    served = []

    def make_server(classifier, config, usual, model):
        served.append((classifier.labels, usual))
        return argparse.Namespace(run=lambda sockets: None)

    monkeypatch.setattr(server, "make_server", make_server)
    monkeypatch.setattr(server.signal, "signal", lambda *_: None)
    assert main(["serve", str(folder), "--port", "0"]) == 0
    assert served[0][0] == ("ham", "spam")


def test_what_a_run_tells_itself_may_not_be_said_again(tmp_path, capsys):
    run = random_run(tmp_path / "run")
    argv = ["predict", str(run), "a text", "--pool", "mean", "--num-heads", "2"]
    assert main(argv) == 5
    assert "omit --num-heads, --pool" in capsys.readouterr().err
