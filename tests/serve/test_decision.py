"""One decision: label and explanation are the same, threshold included."""

from __future__ import annotations

import dataclasses

import httpx
import pytest
from serve_helpers import Service, StubClassifier, serving, tiny_trained

from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.weights.trained import Threshold

TEXT = "free prize at lunch"


def _ask(service: Service, path: str, **body: object) -> dict:
    response = httpx.post(f"{service.url}/v1/{path}", json=body, timeout=30)
    assert response.status_code == 200, response.text
    return response.json()


def _spam(text: str) -> float:
    return 0.45 if "prize" in text else 0.1


@pytest.fixture(scope="module")
def low():
    """A service that says spam from 0.4 on."""
    with serving(StubClassifier(_spam, threshold=(1, 0.4))) as service:
        yield service


def test_an_explanation_is_about_the_label_that_is_given(low):
    given = _ask(low, "classify", texts=[TEXT])["results"][0]
    explained = _ask(low, "explain", text=TEXT)
    assert (given["label"], given["prob"]) == ("spam", pytest.approx(0.45))
    assert (explained["label"], explained["prob"]) == (given["label"], given["prob"])
    weights = {TEXT[w["start"] : w["end"]]: w["weight"] for w in explained["words"]}
    assert weights["prize"] == pytest.approx(0.35)  # for spam, not against ham


def test_the_threshold_is_told(low, service):
    told = _ask(low, "classify", texts=["a"])["threshold"]
    assert told == {"label": "spam", "value": 0.4}
    assert _ask(service, "classify", texts=["a"])["threshold"] is None


def test_no_label_is_given_below_the_probability_that_was_asked_for(low):
    body = {"texts": [TEXT, "lunch"], "abstain_below": 0.5}
    results = _ask(low, "classify", **body)["results"]
    assert [r["label"] for r in results] == [None, "ham"]
    assert [r["prob"] for r in results] == pytest.approx([0.45, 0.9])


@pytest.mark.parametrize("value", [-0.1, 1.1, "0.5", None])
def test_a_probability_that_cannot_be_is_refused(low, value):
    body = {"texts": ["a"], "abstain_below": value}
    assert httpx.post(f"{low.url}/v1/classify", json=body).status_code == 422


@pytest.fixture(scope="module")
def decided() -> Classifier:
    """A classifier whose threshold gives the label that is not the likeliest."""
    trained = tiny_trained()
    row = Classifier(trained).predict_proba([TEXT])[0]
    rarer = int(row.argmin())
    threshold = Threshold(trained.classes[rarer], float(row[rarer]) - 1e-4)
    return Classifier(dataclasses.replace(trained, threshold=threshold))


@pytest.mark.parametrize("method", ["occlusion", "gradients"])
def test_both_methods_explain_the_decided_label(decided, method):
    row = decided.predict_proba([TEXT])[0]
    label = decided.labels.index(decided.predict([TEXT])[0])
    assert label != row.argmax()
    if method == "gradients":
        assert decided.attributions([TEXT])[0].label == label
        return
    for word in decided.explain([TEXT], method)[0]:
        without = TEXT[: word.start] + TEXT[word.end :]
        lost = row[label] - decided.predict_proba([without])[0, label]
        assert word.weight == pytest.approx(lost, abs=1e-6)


def test_the_part_that_is_explained_ends_where_the_model_stopped_reading(service):
    text = "🎉" * 40  # three tokens each: the cut is within one
    words = _ask(service, "explain", text=text)["words"]
    assert [(w["start"], w["end"]) for w in words] == [(0, 10)]
