"""The ONNX graph gives our probabilities, for any batch, length, padding and pool."""

from __future__ import annotations

import dataclasses
import json
import os
import sys

import jax
import numpy as np
import pytest
from helpers import random_params
from training_helpers import ON_DISK, finished_run, random_run

from gpt2_jax.cli.main import main
from gpt2_jax.config.model import POOLS
from gpt2_jax.errors import DeviceError, UserError, WeightsError
from gpt2_jax.export import onnx_file, onnx_graph
from gpt2_jax.export.classifier import export_run
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.model.gpt2 import to_classifier
from gpt2_jax.tokenizer import encode
from gpt2_jax.weights.trained import TrainedModel, load_model, save_model

pytestmark = pytest.mark.slow  # runs, trained and compiled

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
TEXTS = ["hello", "free prize! claim now", "a " * 300, "naïve 東京 🎉", "", "x y z"]
LIMIT = 20


def run_graph(folder, texts, *, side="right", width=None):
    """Return the probabilities of texts, padded to `width` with tokens of no text."""
    encoded = [encode(text)[:LIMIT] for text in texts]
    width = width or max(map(len, encoded))
    ids = np.full((len(texts), width), 7, np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(encoded):
        real = slice(len(tokens)) if side == "right" else slice(-len(tokens), None)
        ids[row, real], mask[row, real] = tokens, 1
    session = ort.InferenceSession(folder / "model.onnx")
    given = {"input_ids": ids, "attention_mask": mask}
    logits, probabilities = session.run(["logits", "probabilities"], given)
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    softmax = shifted / shifted.sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities, softmax, rtol=0, atol=1e-6)
    return probabilities


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
def test_any_batch_length_and_padding_gives_our_probabilities(tmp_path, pool):
    run = random_run(tmp_path / "run", pool=pool, classes=("a", "é", "c d"))
    trained = dataclasses.replace(load_model(run), temperature=1.7)
    save_model(run / "model", trained)
    said = export_run(run, tmp_path / "x", "onnx")
    assert said[0].startswith("read back: largest difference of a logit ")
    expected = Classifier.load(run).predict_proba(TEXTS)
    assert (expected.std(axis=0) > 0.003).all()  # a mix-up would show
    close(run_graph(tmp_path / "x", TEXTS), expected)
    for row, text in enumerate(TEXTS):
        close(run_graph(tmp_path / "x", [text]), expected[row : row + 1])
    if pool != "last":  # the book pads on the right
        close(run_graph(tmp_path / "x", TEXTS, side="left", width=24), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"causal": False},
        {"causal": False, "pool": "last"},
        {"activation": "gelu"},
        {"activation": "relu"},
        {"layer_norm_epsilon": 1e-2},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_the_graph_is_what_the_config_says(tmp_path, changes):
    run = random_run(tmp_path / "run", **changes)
    export_run(run, tmp_path / "x", "onnx")
    trained = load_model(run)
    plain = dataclasses.replace(trained.config, dtype="float32")
    expected = Classifier(dataclasses.replace(trained, config=plain))
    close(run_graph(tmp_path / "x", TEXTS), expected.predict_proba(TEXTS))


def test_an_inner_width_of_its_own_is_that_of_the_graph(tmp_path):
    config = dataclasses.replace(ON_DISK, inner_dim=24)
    params = random_params(config)
    model, params = to_classifier(config, params, num_classes=2, key=jax.random.key(1))
    params = jax.tree.map(np.asarray, params)
    trained = TrainedModel(model.config, params, ("ham", "spam"), LIMIT)
    save_model(tmp_path / "run" / "model", trained)
    export_run(tmp_path / "run", tmp_path / "x", "onnx")
    close(run_graph(tmp_path / "x", TEXTS), Classifier(trained).predict_proba(TEXTS))


def test_tokenizer_labels_and_how_to_call_it_lie_beside(tmp_path):
    run = random_run(tmp_path / "run", classes=("a", "é"))
    export_run(run, tmp_path / "x", "onnx")
    about = json.loads((tmp_path / "x" / "model.json").read_text())
    assert about["classes"] == ["a", "é"] and about["max_length"] == LIMIT
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    assert config["id2label"] == {"0": "a", "1": "é"}
    tokenizers = pytest.importorskip("tokenizers")
    own = tokenizers.Tokenizer.from_file(str(tmp_path / "x" / "tokenizer.json"))
    own.encode_special_tokens = True
    assert [own.encode(text).ids for text in TEXTS[:4]] == [
        encode(text)[:LIMIT] for text in TEXTS[:4]
    ]
    with pytest.raises(WeightsError, match=r"an ONNX graph .*; use"):
        Classifier.from_weights(tmp_path / "x")


def test_a_graph_that_is_not_right_leaves_nothing(tmp_path, monkeypatch):
    run = random_run(tmp_path / "run")
    monkeypatch.setitem(onnx_graph._ACTIVATIONS, "gelu_new", ("Relu", {}))
    with pytest.raises(WeightsError, match=r"nothing written: .* other logits"):
        export_run(run, tmp_path / "x", "onnx")
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_large_parameters_lie_beside_the_graph(tmp_path, monkeypatch, quantize):
    monkeypatch.setattr(onnx_file, "_MAX_BYTES", 1000)
    run = random_run(tmp_path / "run")
    export_run(run, tmp_path / "x", "onnx", quantize=quantize)
    graph = (tmp_path / "x" / "model.onnx").stat().st_size
    rest = [p for p in (tmp_path / "x").iterdir() if p.name.startswith("model.onnx_")]
    assert quantize or graph < rest[0].stat().st_size
    got = run_graph(tmp_path / "x", TEXTS)
    expected = Classifier.load(run).predict_proba(TEXTS)
    assert np.abs(got - expected).max() < (0.2 if quantize else 1e-5)


def test_int8_tells_how_many_labels_of_the_run_stay(tmp_path_factory, tmp_path, capsys):
    run = finished_run(tmp_path_factory)
    argv = ["export", str(run), str(tmp_path / "x"), "--format", "onnx"]
    assert main([*argv, "--quantize", "int8"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("read back: 7 probe texts") for line in said)
    for part in ("validation", "test"):
        (line,) = [line for line in said if f" {part} texts keep their label" in line]
        kept, total = int(line.split()[1]), int(line.split()[3])
        assert 0.8 * total <= kept <= total
        assert "accuracy" in line and "where float32 has" in line
    import onnx

    kinds = {
        node.op_type for node in onnx.load(tmp_path / "x" / "model.onnx").graph.node
    }
    assert "MatMulInteger" in kinds


def test_int8_of_a_model_alone_says_that_nothing_was_compared(tmp_path):
    said = export_run(
        random_run(tmp_path / "r"), tmp_path / "x", "onnx", quantize="int8"
    )
    assert any("labels not compared, the run's own texts are gone" in x for x in said)


def test_quantize_is_for_onnx_alone(tmp_path):
    with pytest.raises(UserError, match="--quantize int8 is for --format onnx"):
        export_run(random_run(tmp_path / "r"), tmp_path / "x", "hf", quantize="int8")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, missing):
    run = random_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DeviceError, match=r"pip install 'gpt2-jax\[onnx\]'"):
        export_run(run, tmp_path / "x", "onnx")
    assert os.listdir(tmp_path) == ["run"]
