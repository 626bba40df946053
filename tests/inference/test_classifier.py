"""A trained run, in use: what it says does not depend on how it is asked."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from helpers import random_params, write_hugging_face
from training_helpers import ON_DISK, finished_run, run_config

from gpt2_jax.errors import WeightsError
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.model.gpt2 import GPT2, to_classifier
from gpt2_jax.model.tree import flatten
from gpt2_jax.storage.sealed import SEAL
from gpt2_jax.training.finetune import finetune
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.rules import HUGGING_FACE, LLMS_FROM_SCRATCH
from gpt2_jax.weights.trained import TrainedModel, load_model, save_model

_ODD = ["", "<|endoftext|>", "🎉 free 🎉", "  ", "\n", "naïve\u2028é", "half \ud83d"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return finished_run(tmp_path_factory)


@pytest.fixture(scope="module")
def classifier(run) -> Classifier:
    return Classifier.load(run)


def _test_rows(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_loaded_classifier_says_what_the_run_said_at_its_end(run, classifier):
    rows = _test_rows(run)
    texts = [row["text"] for row in rows]
    expected = [[float(row["p_ham"]), float(row["p_spam"])] for row in rows]
    np.testing.assert_allclose(classifier.predict_proba(texts), expected, atol=1e-5)
    assert classifier.predict(texts) == [row["predicted"] for row in rows]
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    results = json.loads((run / "results.json").read_text())
    assert right == pytest.approx(results["accuracy"]["test"])


def test_each_row_of_probabilities_sums_to_one(classifier):
    rows = classifier.predict_proba(_ODD)
    assert rows.shape == (len(_ODD), 2)
    assert rows.dtype == np.float64
    assert (rows > 0).all()
    np.testing.assert_allclose(rows.sum(-1), 1.0, atol=1e-12)


@pytest.mark.parametrize("pool", ["last_real", "last", "mean", "first"])
def test_grouping_and_order_of_the_texts_change_nothing(pool, tmp_path):
    # 35 texts: more than one batch.
    config = dataclasses.replace(ON_DISK, num_classes=3, pool=pool)
    trained = TrainedModel(config, random_params(config), ("a", "b", "c"), 24)
    classifier = Classifier(trained)
    texts = [f"{'so ' * (i % 9)}{i} {_ODD[i % 6]}" for i in range(35)]
    expected = classifier.logits(texts)
    assert expected.std(axis=0).max() > 1e-3
    alone = np.concatenate([classifier.logits([text]) for text in texts[:6]])
    np.testing.assert_allclose(alone, expected[:6], atol=1e-5)
    order = np.random.default_rng(0).permutation(35)
    shuffled = classifier.logits([texts[i] for i in order])
    np.testing.assert_allclose(shuffled, expected[order], atol=1e-5)


@pytest.mark.fault(39)
def test_a_special_token_in_a_text_is_plain_text(classifier):
    # Were it encoded as the padding token, the two would be the same text.
    got = classifier.logits(["", "<|endoftext|>"])
    assert np.abs(got[0] - got[1]).max() > 1e-4


def test_no_texts_give_no_rows(classifier):
    assert classifier.predict_proba([]).shape == (0, 2)
    assert classifier.predict([]) == []


_WAYS = {
    "predict": lambda got: got,
    "predict_proba": np.ndarray.tolist,
    "logits": np.ndarray.tolist,
    "classify": lambda got: got,
    "explain": lambda got: got,
    "attributions": lambda got: [each.tokens.tolist() for each in got],
    "count_cut": lambda got: got,
}


@pytest.mark.parametrize(
    "texts", ["one text", ["a", 3], [b"bytes"], [None], b"bytes", None, [["a"]]]
)
@pytest.mark.parametrize("way", _WAYS)
def test_what_is_no_list_of_strings_is_a_type_error(classifier, way, texts):
    with pytest.raises(TypeError, match=r"\['a text'\]"):
        getattr(classifier, way)(texts)


@pytest.mark.parametrize("way", _WAYS)
def test_texts_that_can_be_read_only_once_are_answered_all(classifier, way):
    texts = ["free prize", "", " a" * 99]
    shown, ask = _WAYS[way], getattr(classifier, way)
    expected = shown(ask(texts))
    assert len(expected) == 3 if way != "count_cut" else expected == 1
    assert shown(ask(text for text in texts)) == expected
    assert shown(ask(map(str, texts))) == expected
    assert shown(ask(np.asarray(texts, object))) == expected
    pyarrow = pytest.importorskip("pyarrow")
    assert shown(ask(pyarrow.array(texts))) == expected


class _Frame(list):
    """As pandas does, it gives the names of its columns, one after another."""

    columns = ("text", "label")


@pytest.mark.parametrize("way", _WAYS)
def test_a_table_is_refused_with_the_way_to_its_column(classifier, way):
    pyarrow = pytest.importorskip("pyarrow")
    table = {"text": ["a"], "label": ["b"]}
    for given in (table, _Frame(table), pyarrow.table(table)):
        with pytest.raises(
            TypeError, match=r"column of texts, such as table\['text'\]"
        ):
            getattr(classifier, way)(given)


def test_texts_are_cut_at_the_length_of_the_training(classifier):
    assert classifier.max_length == ON_DISK.max_len
    fits, cut = " a" * ON_DISK.max_len, " a" * (ON_DISK.max_len + 1)
    assert classifier.count_cut([fits, cut, "short"]) == 1
    got = classifier.logits([fits, cut])
    np.testing.assert_allclose(got[0], got[1], atol=1e-6)


def test_labels_are_in_the_order_of_the_columns(classifier):
    assert classifier.labels == ("ham", "spam")
    probabilities = classifier.predict_proba(["free prize", "lunch"])
    named = [classifier.labels[i] for i in probabilities.argmax(-1)]
    assert classifier.predict(["free prize", "lunch"]) == named


def test_the_model_folder_can_be_loaded_by_itself(run, classifier):
    alone = Classifier.load(run / "model")
    np.testing.assert_array_equal(alone.logits(["free"]), classifier.logits(["free"]))


def test_what_is_no_run_is_refused_by_name(tmp_path):
    with pytest.raises(WeightsError, match=f"{tmp_path}: no trained classifier"):
        Classifier.load(tmp_path)
    with pytest.raises(WeightsError, match="nowhere"):
        Classifier.load(tmp_path / "nowhere")


def _flip(model: Path) -> None:
    path = model / "params.safetensors"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def _delete(model: Path) -> None:
    (model / "params.safetensors").unlink()


def _half(model: Path) -> None:
    path = model / "classifier.json"
    path.write_text(path.read_text()[:40])


def _change(model: Path, **values) -> None:
    path = model / "classifier.json"
    changed = json.loads(path.read_text()) | values
    changed.pop(SEAL)  # which would tell, before they do
    path.write_text(json.dumps(changed))


def _no_classes(model: Path) -> None:
    _change(model, classes=None)


def _three_classes(model: Path) -> None:
    _change(model, classes=["a", "b", "c"])


def _other_config(model: Path) -> None:
    _change(model, config={"num_layers": 2})


@pytest.mark.fault(8, 9)
@pytest.mark.parametrize(
    "damage", [_flip, _delete, _half, _no_classes, _three_classes, _other_config]
)
def test_a_damaged_run_is_refused_by_the_name_of_its_file(run, tmp_path, damage):
    shutil.copytree(run / "model", tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(WeightsError, match=r"model/(params|classifier)\."):
        Classifier.load(tmp_path)


def test_a_saved_model_is_loaded_bit_for_bit(tmp_path):
    config = dataclasses.replace(ON_DISK, vocab_size=11, num_classes=2)
    trained = TrainedModel(config, random_params(config), ("a", "b"), 9)
    save_model(tmp_path, trained)
    loaded = load_model(tmp_path)
    assert dataclasses.replace(loaded, params={}) == dataclasses.replace(
        trained, params={}
    )
    expected = flatten(trained.params)
    assert set(flatten(loaded.params)) == set(expected)
    for path, leaf in flatten(loaded.params).items():
        assert leaf.tobytes() == expected[path].tobytes(), path


FOREIGN = dataclasses.replace(ON_DISK, num_classes=2)


def hugging_face_classifier(folder: Path) -> Path:
    """Write a GPT2ForSequenceClassification, whose head has no bias."""
    params = random_params(FOREIGN)
    head = params.pop("out_head")["kernel"]
    write_hugging_face(folder, FOREIGN, params)
    state = to_state_dict(params, HUGGING_FACE) | {
        "score.weight": np.ascontiguousarray(head.T)
    }
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    path = folder / "config.json"
    values = json.loads(path.read_text()) | {"id2label": {"1": "spam", "0": "ham"}}
    path.write_text(json.dumps(values))
    return folder


def book_classifier(path: Path) -> Path:
    """Write what chapter 6 of the book saves, as safetensors."""
    state = to_state_dict(random_params(FOREIGN), LLMS_FROM_SCRATCH)
    safetensors.numpy.save_file(state, path)
    return path


def expected_logits(text_ids, *, pool, bias):
    config = dataclasses.replace(FOREIGN, pool=pool)
    params = random_params(FOREIGN)
    params["out_head"]["bias"] *= bias
    lengths = np.asarray([len(ids) for ids in text_ids], np.int32)
    tokens = np.full((len(text_ids), 9), 50256, np.int32)
    for row, ids in zip(tokens, text_ids, strict=True):
        row[: len(ids)] = ids
    return np.asarray(GPT2(config).apply({"params": params}, tokens, lengths))


HELLO = [[15496], [15496, 995]]  # "Hello", "Hello world"


@pytest.mark.slow
def test_a_classifier_of_hugging_face_is_ready_with_its_labels(tmp_path):
    classifier = Classifier.from_weights(hugging_face_classifier(tmp_path / "hf"))
    assert classifier.labels == ("ham", "spam")
    assert classifier.max_length == FOREIGN.max_len
    expected = expected_logits(HELLO, pool="last_real", bias=0)
    got = classifier.logits(["Hello", "Hello world"])
    np.testing.assert_allclose(got, expected, atol=1e-5)
    other = Classifier.from_weights(tmp_path / "hf", classes=("no", "yes"))
    assert other.labels == ("no", "yes")


@pytest.mark.slow
def test_a_classifier_of_the_book_is_ready_when_it_is_told_the_rest(tmp_path):
    path = book_classifier(tmp_path / "review_classifier.safetensors")
    classifier = Classifier.from_weights(
        path, classes=("ham", "spam"), max_length=9, num_heads=2
    )
    expected = expected_logits(HELLO, pool="last", bias=1)
    got = classifier.logits(["Hello", "Hello world"])
    np.testing.assert_allclose(got, expected, atol=1e-5)
    last_real = Classifier.from_weights(
        path, classes=("ham", "spam"), pool="last_real", num_heads=2
    )
    assert last_real.max_length == FOREIGN.max_len
    expected = expected_logits(HELLO, pool="last_real", bias=1)
    got = last_real.logits(["Hello", "Hello world"])
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "2 logits, but 0 class names; give classes"),
        ({"classes": ("a", "b", "c"), "max_length": 9}, "2 logits, but 3 class names"),
        ({"classes": ("a", "b")}, "the pool last reads padding; give max_length"),
        ({"classes": ("a", "b"), "max_length": 65}, r"max_length=65 is not in 1\.\.64"),
        ({"classes": ("a", "b"), "max_length": -1}, "max_length"),
        ({"classes": ("a", "b"), "pool": "middle"}, "pool='middle' is not one of"),
    ],
)
def test_what_a_foreign_classifier_lacks_is_asked_for(tmp_path, given, message):
    path = book_classifier(tmp_path / "review_classifier.safetensors")
    with pytest.raises((WeightsError, ValueError), match=message):
        Classifier.from_weights(path, num_heads=2, **given)


def test_a_language_model_is_no_classifier(tmp_path):
    folder = write_hugging_face(tmp_path / "lm", ON_DISK, random_params(ON_DISK))
    with pytest.raises(WeightsError, match=f"{folder}: no classifier"):
        Classifier.from_weights(folder)


def test_a_run_is_a_file_of_weights_too(run, classifier):
    again = Classifier.from_weights(run)
    assert (again.labels, again.max_length) == (
        classifier.labels,
        classifier.max_length,
    )
    np.testing.assert_array_equal(again.logits(["free"]), classifier.logits(["free"]))


def test_the_head_of_a_classifier_is_replaced(tmp_path):
    config, params = load_pretrained(hugging_face_classifier(tmp_path / "hf"))
    model, ours = to_classifier(config, params, num_classes=5, key=jax.random.key(0))
    assert ours["out_head"]["kernel"].shape == (FOREIGN.embed_dim, 5)
    assert ours["h_0"] is params["h_0"]
    assert (model.config.num_classes, model.config.pool) == (5, "last_real")
    again, _ = to_classifier(
        *load_pretrained(book_classifier(tmp_path / "x.safetensors"), num_heads=2),
        num_classes=2,
        key=jax.random.key(0),
    )
    assert again.config.pool == "last_real"


@pytest.mark.slow
def test_a_classifier_can_be_trained_further(tmp_path_factory, tmp_path):
    """The new run starts from the other's trunk, and from its head by class."""
    folder = hugging_face_classifier(tmp_path / "hf")
    config = run_config(tmp_path_factory, epochs=1)
    config = dataclasses.replace(config, weights=str(folder))
    finetune(config, tmp_path / "run")
    trained = load_model(tmp_path / "run")
    before = random_params(FOREIGN)
    np.testing.assert_array_equal(
        trained.params["h_0"]["mlp"]["c_fc"]["kernel"],
        before["h_0"]["mlp"]["c_fc"]["kernel"],
    )
    head, theirs = (p["out_head"]["kernel"] for p in (trained.params, before))
    assert np.abs(head - theirs).max() < 0.2 < np.abs(theirs).max()  # a few steps


@pytest.mark.parametrize(("pad", "text"), [(0, "!"), (198, "\n"), (50256, None)])
def test_padding_that_a_text_can_end_in_is_refused(tmp_path, pad, text):
    """GPT2ForSequenceClassification reads the token before it."""
    folder = hugging_face_classifier(tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": pad}))
    if text is None:
        assert Classifier.from_weights(folder).labels == ("ham", "spam")
        return
    with pytest.raises(WeightsError, match=f"pad_token_id={pad} of") as caught:
        Classifier.from_weights(folder)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_what_is_no_choice_of_one_label_is_refused_by_name(tmp_path, problem):
    folder = hugging_face_classifier(tmp_path)
    path = folder / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"problem_type": problem}))
    with pytest.raises(WeightsError, match=f"problem_type='{problem}'"):
        Classifier.from_weights(folder)
    single = values | {"problem_type": "single_label_classification"}
    path.write_text(json.dumps(single))
    assert Classifier.from_weights(folder).labels == ("ham", "spam")
