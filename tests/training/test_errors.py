"""The errors of a run, and the words that they rest on."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from training_helpers import run_config

from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.training import errors
from gpt2_jax.training.finetune import finetune


@pytest.mark.slow
def test_a_run_tells_why_its_errors_were_made(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(errors, "EXPLAINED_TOKENS", 60)
    config = run_config(tmp_path_factory, epochs=1)
    train = dataclasses.replace(config.train, learning_rate=1e-6)  # it learns nothing
    config = dataclasses.replace(config, train=train, lexical=False)
    finetune(config, tmp_path / "run", verbose=False)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    found = results["test"]["errors"]
    explained = [error for error in found if "words" in error]
    assert explained == found[: len(explained)] and 0 < len(explained) < len(found)
    lines = (tmp_path / "run" / "predictions.csv").read_text().splitlines()
    text = lines[1 + found[0]["row"]].rsplit(",", 4)[0].strip('"')
    (words,) = Classifier.load(tmp_path / "run").explain([text])
    assert [w[:2] for w in found[0]["words"]] == [[w.start, w.end] for w in words]
    weights = [w[2] for w in found[0]["words"]]
    assert weights == pytest.approx([w.weight for w in words], abs=1e-3)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<mark" in page and 'id="errors-length"' in page
    curves = json.loads((tmp_path / "run" / "curves.json").read_text())
    assert max(curves["learning_rate"]["value"]) == pytest.approx(1e-6, rel=0.1)


def test_errors_come_the_most_confident_first():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.01, 0.99]])
    labels = np.array([1, 1, 1, 0])
    found = errors.list_errors(probabilities, labels, ("a", "b"))
    assert [error["row"] for error in found] == [3, 0, 1]
    assert found[0] == {"row": 3, "label": "a", "predicted": "b", "prob": 0.99}
