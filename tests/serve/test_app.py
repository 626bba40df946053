"""The API: what it answers, and that it says the same as the classifier."""

from __future__ import annotations

import json
import threading
import time

import httpx
import jax
import numpy as np
import pytest
from serve_helpers import (
    MAX_LENGTH,
    StubClassifier,
    head,
    post,
    serving,
    until,
)

from gpt2_jax.inference.explain import occlusion

_JSON = {"content-type": "application/json"}
TEXTS = [
    "",
    "free prize",
    "see you at lunch",
    "<|endoftext|>",
    "🎉 naïve\u2028é \x00",
    "so " * 100,
    "<script>alert(1)</script>",
    "half \ud83d",  # an emoji; JSON may hold it, UTF-8 may not
]


@pytest.fixture(scope="module")
def client(service):
    with httpx.Client(base_url=service.url, timeout=30, headers=_JSON) as made:
        yield made


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True)


def _metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def test_each_text_gets_the_probabilities_of_the_classifier(client, classifier):
    response = client.post("/v1/classify", content=_json({"texts": TEXTS}))
    assert response.status_code == 200
    results = response.json()["results"]
    rows = classifier.predict_proba(TEXTS)
    got = [[r["probs"][label] for label in classifier.labels] for r in results]
    np.testing.assert_allclose(got, rows, atol=1e-6)
    assert [r["label"] for r in results] == classifier.predict(TEXTS)
    assert [r["prob"] for r in results] == [max(r["probs"].values()) for r in results]


def test_a_text_that_is_cut_is_said_to_be(client, classifier):
    fits, cut = " a" * MAX_LENGTH, " a" * (MAX_LENGTH + 1)
    response = client.post("/v1/classify", json={"texts": [fits, cut]})
    short, long = response.json()["results"]
    assert (short["n_tokens"], short["truncated"]) == (MAX_LENGTH, False)
    assert (long["n_tokens"], long["truncated"]) == (MAX_LENGTH + 1, True)
    assert classifier.count_cut([fits, cut]) == 1
    assert long["probs"] == pytest.approx(short["probs"], abs=1e-6)


def test_an_explanation_is_the_occlusion_of_the_classifier(client, classifier):
    text = "win a 🎉 prize at lunch"
    answer = client.post("/v1/explain", json={"text": text}).json()
    expected = occlusion(classifier.predict_proba, text)
    got = [((w["start"], w["end"]), w["weight"]) for w in answer["words"]]
    assert [span for span, _ in got] == [span for span, _ in expected]
    np.testing.assert_allclose([w for _, w in got], [w for _, w in expected], atol=1e-6)
    assert max(abs(weight) for _, weight in expected) > 1e-4
    assert answer["label"] == classifier.predict([text])[0]


@pytest.mark.parametrize("text", ["", "  ", "so " * 5000, "<|endoftext|>", "🎉" * 60])
def test_any_text_has_an_explanation_of_the_part_that_was_read(client, text):
    answer = client.post("/v1/explain", json={"text": text})
    assert answer.status_code == 200, answer.text
    words = answer.json()["words"]
    assert len(words) <= 64
    assert all(0 <= w["start"] < w["end"] <= len(text) for w in words)


def test_after_the_warm_up_no_request_compiles(client):
    until(lambda: _metric(client, "gpt2_jax_cold_shapes") == 0)
    compiled = _metric(client, "gpt2_jax_compilations_total")
    for count in (1, 2, 3, 7, 16, 40, 100):
        texts = [" a" * (1 + i % 50) for i in range(count)]
        assert client.post("/v1/classify", json={"texts": texts}).status_code == 200
    client.post("/v1/explain", json={"text": "win a prize " * 12})
    assert _metric(client, "gpt2_jax_compilations_total") == compiled
    jax.jit(lambda x: x + compiled)(1.0)  # shows that one would have been counted
    assert _metric(client, "gpt2_jax_compilations_total") > compiled


def test_the_metrics_count_requests_and_batches(client):
    name = 'gpt2_jax_requests_total{path="/v1/classify",status="200"}'
    requests, texts = _metric(client, name), _metric(client, "gpt2_jax_batch_texts_sum")
    client.post("/v1/classify", json={"texts": ["a", "b", "c"]})
    assert _metric(client, name) == requests + 1
    assert _metric(client, "gpt2_jax_batch_texts_sum") == texts + 3
    assert _metric(client, 'gpt2_jax_request_seconds_count{path="/v1/classify"}') > 0
    assert _metric(client, "gpt2_jax_queue_texts") == 0
    client.get("/some/path/of/a/scanner")
    assert "scanner" not in client.get("/metrics").text


def test_it_lives_before_it_is_ready():
    go = threading.Event()

    def answer(text: str) -> float:
        assert go.wait(30)
        return 0.5

    with serving(StubClassifier(answer), wait=False) as service:
        until(lambda: service.status(head("/healthz", method="GET")) == 200)
        assert service.status(head("/readyz", method="GET")) == 503
        early = service.send(post(b'{"texts": ["a"]}'))
        assert b" 503 " in early and b"retry-after: " in early
        go.set()
        until(lambda: service.status(head("/readyz", method="GET")) == 200)
        assert service.status(post(b'{"texts": ["a"]}')) == 200


def test_a_request_that_is_not_answered_in_time_is_given_up():
    go = threading.Event()
    go.set()

    def answer(text: str) -> float:
        assert go.wait(30)
        return 0.5

    with serving(StubClassifier(answer), timeout=0.3) as service:
        go.clear()
        start = time.monotonic()
        for path, body in (
            ("/v1/classify", b'{"texts": ["a"]}'),
            ("/v1/explain", b'{"text": "a"}'),
        ):
            late = service.send(post(body, path))
            assert b" 503 " in late and b"retry-after: " in late
        assert time.monotonic() - start < 5
        go.set()
        assert service.status(post(b'{"texts": ["a"]}')) == 200


def test_a_failure_inside_is_a_500_that_tells_nothing(caplog):
    def answer(text: str) -> float:
        if "secret" in text:
            raise ValueError(f"cannot do {text}")
        return 0.5

    with serving(StubClassifier(answer)) as service:
        answered = service.send(post(b'{"texts": ["secret"]}'))
        assert b" 500 " in answered and b"secret" not in answered
        assert b"x-content-type-options: nosniff" in answered
        assert service.status(post(b'{"texts": ["a"]}')) == 200
        metrics = service.send(head("/metrics", method="GET"))
        assert b'status="500"' in metrics


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/explain", "/metrics"])
def test_with_a_token_only_its_bearers_are_answered(path):
    with serving(StubClassifier(), token="s3cret") as service:
        body = b'{"text": "a"}' if path == "/v1/explain" else b'{"texts": ["a"]}'

        def status(**headers: str) -> int:
            if path == "/metrics":
                return service.status(head(path, method="GET", **headers))
            return service.status(post(body, path, **headers))

        assert status() == 401
        wrong = ("Bearer s3cre", "Bearer s3cret2", "s3cret", "Basic s3cret", "Bearer é")
        for value in wrong:
            assert status(authorization=value) == 401, value
        assert status(authorization="Bearer s3cret") == 200
        assert status(authorization="bearer  s3cret") == 200
        for free in ("/", "/healthz", "/readyz", "/app.js", "/openapi.json"):
            assert service.status(head(free, method="GET")) == 200
