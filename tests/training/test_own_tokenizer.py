"""A model with a tokenizer of its own keeps it: from the weights to every export."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TINY, random_params, write_hugging_face, write_table
from tokenizers_of_others import (
    MERGES,
    added,
    bos_template,
    by_bytes,
    tokenizer_json,
    vocabulary,
    write_folder,
)
from training_helpers import error_line

from gpt2_jax.cli.main import main
from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.export.classifier import export_run
from gpt2_jax.export.language_model import convert_weights
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.model.gpt2 import to_classifier
from gpt2_jax.tokenizer import END_OF_TEXT_NAME, encode
from gpt2_jax.weights.pretrained import load_pretrained, read_pretrained
from gpt2_jax.weights.tokenizer_folder import read_tokenizer
from gpt2_jax.weights.trained import TrainedModel, load_model, save_model

VOCAB = vocabulary()[0]
END, NEXT = VOCAB[END_OF_TEXT_NAME], len(VOCAB)
CONFIG = dataclasses.replace(TINY, vocab_size=NEXT + 2, max_len=64)
TEXTS = ["the hateful 東京 it's  12", "sun prize lunch", "", "a <url> b" * 20]
LIBRARY = tokenizer_json(
    added_tokens=[
        *tokenizer_json()["added_tokens"],
        added("<url>", NEXT, special=True),
        added("the", VOCAB["the"] if "the" in VOCAB else NEXT + 1, normalized=True),
    ],
    post_processor=bos_template(END_OF_TEXT_NAME, END),
    pre_tokenizer=by_bytes(add_prefix_space=True),
)
SETTINGS = {"add_prefix_space": True, "add_bos_token": True}


@pytest.fixture
def weights(tmp_path) -> Path:
    """A language model with all that a tokenizer may ask for."""
    folder = write_hugging_face(tmp_path / "weights", CONFIG, random_params(CONFIG))
    return write_folder(folder, LIBRARY, tokenizer_config=SETTINGS)


@pytest.fixture
def run(tmp_path, weights) -> Path:
    """A run of its classifier, not trained."""
    found = read_pretrained(weights)
    model, params = to_classifier(found.config, found.params, num_classes=2, key=_key())
    params["out_head"]["kernel"] *= 30.0
    own = found.tokenizer
    assert own is not None
    trained = TrainedModel(
        model.config, _numpy(params), ("ham", "spam"), 20, tokenizer=own
    )
    save_model(tmp_path / "run" / "model", trained)
    return tmp_path / "run"


def _key() -> Any:
    import jax

    return jax.random.key(1)


def _numpy(params: Any) -> Any:
    import jax

    return jax.tree.map(np.asarray, params)


def test_the_names_of_the_ids_change_nothing(tmp_path):
    """One model, and its ids in another order: the same answers to every text."""
    logits = []
    first, _ = vocabulary(MERGES, 7)
    for seed in (7, 8):
        vocab, merges = vocabulary(MERGES, seed)
        params = random_params(CONFIG)
        rows, before = [vocab[name] for name in first], [*first.values()]
        wte = params["wte"]["embedding"].copy()
        wte[rows] = params["wte"]["embedding"][before]
        params["wte"]["embedding"] = wte
        folder = write_hugging_face(tmp_path / str(seed), CONFIG, params)
        text = "\n".join(["#version: 0.2", *merges, ""])
        (folder / "merges.txt").write_text(text, "utf-8")
        (folder / "vocab.json").write_text(json.dumps(vocab))
        found = read_pretrained(folder)
        model, params = to_classifier(CONFIG, found.params, num_classes=2, key=_key())
        assert found.tokenizer is not None
        trained = TrainedModel(
            model.config, params, ("a", "b"), 20, tokenizer=found.tokenizer
        )
        logits.append(Classifier(trained).logits(TEXTS))
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)


@pytest.mark.slow
def test_a_run_is_trained_with_it_and_keeps_it(tmp_path, weights, capsys):
    data, run = write_table(tmp_path / "data.csv"), tmp_path / "run"
    argv = ["finetune", "--data", str(data), "--weights", str(weights)]
    argv += ["--workdir", str(run), "--epochs", "1", "--no-compilation-cache"]
    assert main(argv) == 0
    own, kept = read_tokenizer(weights), load_model(run).tokenizer
    assert own is not None and kept.sha256 == own.sha256
    for name, content in own.files.items():
        assert (run / "model" / name).read_bytes() == content
    identity = json.loads((run / "run.json").read_text())["is"]
    assert identity["weights.tokenizer"] == own.sha256
    assert main(["evaluate", str(run), "--data", str(data)]) == 0
    results = json.loads((run / "results.json").read_text())
    assert f"{100 * results['accuracy']['test']:.2f}" in capsys.readouterr().out
    (prediction,) = Classifier.load(run).classify([TEXTS[0]])
    assert prediction.n_tokens == len(own.encode(TEXTS[0])) != len(encode(TEXTS[0]))


def test_a_small_vocabulary_without_a_tokenizer_is_refused(tmp_path, capsys):
    folder = write_hugging_face(tmp_path / "w", CONFIG, random_params(CONFIG))
    argv = ["finetune", "--weights", str(folder), "--workdir", str(tmp_path / "run")]
    assert "no tokenizer lies beside the weights" in error_line(capsys, argv, 2)


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    config = dataclasses.replace(CONFIG, vocab_size=NEXT - 1)
    folder = write_hugging_face(tmp_path / "w", config, random_params(config))
    write_folder(folder)
    with pytest.raises(WeightsError, match=f"ids up to {NEXT - 1}, the model a voc"):
        read_pretrained(folder)
    assert load_pretrained(folder)[0] == config  # the parameters alone are fine


@pytest.mark.fault(8)
@pytest.mark.parametrize("damage", ["flip", "gone"])
def test_a_damaged_tokenizer_of_a_run_is_noticed(run, damage):
    path = run / "model" / "tokenizer.json"
    content = path.read_bytes()
    path.unlink()
    if damage == "flip":
        path.write_bytes(content.replace(b"false", b"false ", 1))
    with pytest.raises(WeightsError, match=r"tokenizer\.json: damaged"):
        load_model(run)


def test_what_lies_beside_a_run_of_gpt2s_is_not_its_tokenizer(run):
    trained = load_model(run)
    save_model(run / "model", dataclasses.replace(trained, tokenizer=_gpt2()))
    assert load_model(run).tokenizer.is_gpt2s


def _gpt2() -> Any:
    from gpt2_jax.tokenizer import gpt2

    return gpt2()


@pytest.mark.slow
def test_explanations_are_of_the_text_as_it_is(run):
    classifier = Classifier.load(run)
    text = "the hateful naïve <url> prize"
    for method in ("occlusion", "gradients"):
        (words,) = classifier.explain([text], method)
        expected = ["the", "hateful", "naïve", "<url>", "prize"]
        assert [word.word for word in words] == expected
    assert classifier.tokenizer.byte_ends(text)[-1] == len(text.encode())
    long = "東京 " * 30
    (words,) = classifier.explain([long])
    end = classifier.tokenizer.byte_ends(long)[19]
    assert 0 <= end - len(long[: words[-1].end].encode()) <= 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_export_for_transformers_encodes_as_the_run(run, tmp_path):
    export_run(run, tmp_path / "hf", "hf")
    own, read = load_model(run).tokenizer, read_tokenizer(tmp_path / "hf")
    assert read is not None
    for text in TEXTS:
        assert read.encode(text) == own.encode(text)
    classifier = Classifier.from_weights(tmp_path / "hf", max_length=20)
    expected = Classifier.load(run).predict_proba(TEXTS)
    np.testing.assert_allclose(classifier.predict_proba(TEXTS), expected, atol=1e-5)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    texts = [*TEXTS[:2], TEXTS[3], f"an {END_OF_TEXT_NAME} in it"]
    for text, ids in zip(
        texts, theirs(texts, truncation=True)["input_ids"], strict=True
    ):
        assert ids == own.encode(text)[:20]


@pytest.mark.slow
def test_the_stablehlo_export_has_it_beside(run, tmp_path):
    export_run(run, tmp_path / "out", "stablehlo")
    read, about = read_tokenizer(tmp_path / "out"), tmp_path / "out" / "model.json"
    assert read is not None and "tokenizer.json" in about.read_text()
    assert read.encode(TEXTS[0]) == load_model(run).tokenizer.encode(TEXTS[0])
    assert json.loads(about.read_text())["pad_id"] == END


@pytest.mark.slow
def test_the_service_answers_with_it(run):
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("fastapi")
    from serve_helpers import serving

    classifier = Classifier.load(run)
    with serving(classifier) as service:
        answer = httpx.post(f"{service.url}/v1/classify", json={"texts": TEXTS})
    expected = classifier.classify(TEXTS)
    for got, ours in zip(answer.json()["results"], expected, strict=True):
        assert (got["label"], got["n_tokens"]) == (ours.label, ours.n_tokens)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_onnx_export_with_what_lies_beside_it_answers_as_the_run(run, tmp_path):
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path / "out"
    export_run(run, folder, "onnx")
    beside = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    beside.encode_special_tokens = True
    session = ort.InferenceSession(folder / "model.onnx")
    classifier = Classifier.load(run)
    for text, expected in zip(TEXTS, classifier.predict_proba(TEXTS), strict=True):
        ids = beside.encode(text).ids or [END]
        assert ids == classifier.tokenizer.encode(text)[:20]
        given = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)))}
        given = {name: np.asarray(value, np.int64) for name, value in given.items()}
        got = session.run(["probabilities"], given)[0][0]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    assert json.loads((folder / "model.json").read_text())["pad_id"] == END


def test_the_book_has_no_place_for_it(run, weights, tmp_path):
    trained = load_model(run)
    config = dataclasses.replace(trained.config, pool="last")
    save_model(run / "model", dataclasses.replace(trained, config=config))
    with pytest.raises(UserError, match="not GPT-2's; write them as hf"):
        export_run(run, tmp_path / "x.pth", "llms-from-scratch")
    with pytest.raises(UserError, match="not GPT-2's; write them as hf"):
        convert_weights(weights, tmp_path / "x.pth", "llms-from-scratch")


@pytest.mark.slow
def test_nothing_is_written_over_it(weights, tmp_path):
    convert_weights(weights, tmp_path / "orbax", "orbax")
    convert_weights(tmp_path / "orbax", tmp_path / "hf", "hf")
    own = read_tokenizer(weights)
    assert own is not None
    for name, content in own.files.items():
        assert (tmp_path / "hf" / name).read_bytes() == content
        path = tmp_path / "orbax" / name
        assert path.read_bytes() == content
        path.write_bytes(content + b" ")
        with pytest.raises(WeightsError, match=f"{name}: damaged"):
            read_pretrained(tmp_path / "orbax")
        path.write_bytes(content)


def test_another_one_can_be_named(tmp_path, weights):
    folder = write_hugging_face(tmp_path / "w", CONFIG, random_params(CONFIG))
    assert read_pretrained(folder).tokenizer is None
    found = read_pretrained(folder, tokenizer=weights).tokenizer
    own = read_tokenizer(weights)
    assert found is not None and own is not None and found.sha256 == own.sha256
    with pytest.raises(WeightsError, match="no tokenizer there"):
        read_pretrained(folder, tokenizer=folder)
