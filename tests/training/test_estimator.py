"""The estimator behaves as scikit-learn's own do."""

from __future__ import annotations

import pickle
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from training_helpers import shared_programs, weights

pytest.importorskip("sklearn")

from sklearn import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

import gpt2_jax
from gpt2_jax.config import FinetuneConfig, TrainConfig
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.training import estimator as module
from gpt2_jax.training.estimator import GPT2Classifier

_TEXTS = [f"{i} {('lunch', 'free prize')[i % 2]}" for i in range(40)]
_LABELS = [(7, 3)[i % 2] for i in range(40)]


@pytest.fixture(scope="module", autouse=True)
def _programs(tmp_path_factory):
    with shared_programs(tmp_path_factory.mktemp("programs")):
        yield


@pytest.fixture
def tiny(tmp_path_factory) -> GPT2Classifier:
    train = TrainConfig(devices=1, schedule="constant", learning_rate=1e-2)
    return GPT2Classifier(
        FinetuneConfig(train=train),
        weights=str(weights(tmp_path_factory)),
        epochs=4,
        random_state=5,
    )


@pytest.mark.slow
def test_labels_come_back_as_they_were_given_in_the_order_of_the_columns(tiny):
    fitted = tiny.fit(iter(_TEXTS), np.asarray(_LABELS, np.int16))
    assert fitted is tiny
    assert fitted.classes_.tolist() == [3, 7]
    probabilities = fitted.predict_proba(_TEXTS)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, atol=1e-12)
    got = fitted.predict(map(str, _TEXTS))
    assert got.dtype == np.int16
    assert got.tolist() == fitted.classes_[probabilities.argmax(-1)].tolist()
    assert fitted.score(_TEXTS, _LABELS) == np.mean(got == _LABELS) > 0.8
    assert fitted.results_.data["used"] == {"train": 36, "validation": 4, "test": 4}
    assert fitted.results_.seed == 5
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(_TEXTS), probabilities)


@pytest.mark.slow
def test_it_works_in_pipelines_searches_and_cross_validation(tiny):
    labels = np.asarray(["spam" if label == 3 else "ham" for label in _LABELS])
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    search = GridSearchCV(
        Pipeline([("lower", lower), ("gpt2", tiny)]),
        {"gpt2__epochs": [1, 4]},
        cv=2,
    )
    search.fit(np.asarray(_TEXTS), labels)
    assert set(search.predict(_TEXTS[:4])) <= {"ham", "spam"}
    assert search.best_params_["gpt2__epochs"] in (1, 4)
    scores = cross_val_score(
        tiny.set_params(epochs=1),
        _TEXTS,
        labels,
        cv=2,
        scoring="neg_log_loss",
    )
    assert scores.shape == (2,) and np.isfinite(scores).all()


@pytest.mark.parametrize(
    "labels",
    [
        [*range(12)] * 2,
        ["b", "a", "ü"] * 8,
        [True, False] * 12,
        [0.5, -1.0] * 12,
        np.asarray(["x", "y"] * 12, object),
        [2**40, 10, 9] * 8,
    ],
)
def test_labels_of_every_type_are_found_again(labels, monkeypatch):
    """Without training: what would be trained on is what is answered."""
    truth = {}

    def finetune(config, workdir, *, dataset, verbose):
        for texts, codes in dataset.values():
            truth.update(zip(texts, codes.tolist(), strict=True))
        rows = [set(dataset[part][0]) for part in ("train", "validation", "test")]
        assert not rows[0] & rows[1] and rows[1] == rows[2]

    def predict_proba(texts):
        return np.eye(max(truth.values()) + 1)[[truth[text] for text in texts]]

    stub = SimpleNamespace(predict_proba=predict_proba)
    monkeypatch.setattr(module, "finetune", finetune)
    monkeypatch.setattr(Classifier, "load", lambda run: stub)
    texts = [f"text {i}" for i in range(24)]
    fitted = GPT2Classifier().fit(texts, labels)
    got = fitted.predict(texts)
    assert got.dtype == np.asarray(labels).dtype
    assert got.tolist() == np.asarray(labels).tolist()


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_estimator_repr",
        "check_no_attributes_set_in_init",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_mixin_order",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
    ],
)
def test_it_passes_the_checks_of_scikit_learn_that_need_no_numbers(check):
    run = getattr(estimator_checks, check)
    name = GPT2Classifier.__name__
    run(name, GPT2Classifier())


def _copy(estimator: GPT2Classifier) -> GPT2Classifier:
    copy: Any = clone(estimator)
    return copy


def test_what_is_wrong_is_said(tiny):
    with pytest.raises(NotFittedError):
        tiny.predict(_TEXTS)
    with pytest.raises(TypeError, match=r"such as \['a text'\]"):
        tiny.fit([[1.0, 2.0]] * 4, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="40 texts, but 3 labels"):
        tiny.fit(_TEXTS, [0, 1, 0])
    with pytest.raises(ValueError, match="epochs=0 must be positive"):
        _copy(tiny).set_params(epochs=0).fit(_TEXTS, _LABELS)


def test_it_is_promised_and_says_what_it_needs(monkeypatch):
    assert gpt2_jax.GPT2Classifier is GPT2Classifier
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tags = GPT2Classifier().__sklearn_tags__()
    assert tags.input_tags.string and not tags.input_tags.two_d_array
    assert tags.estimator_type == "classifier"
