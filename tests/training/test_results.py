"""What `finetune` returns, in the hands of who called it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from training_helpers import finished_run, run_config

from gpt2_jax.errors import UserError
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.training.finetune import finetune
from gpt2_jax.training.results import Results


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    run = finished_run(tmp_path_factory)
    return finetune(run_config(tmp_path_factory), run, resume=True, verbose=False)


def test_the_history_has_the_rows_of_the_log(results, tmp_path_factory):
    run = finished_run(tmp_path_factory)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert results.history == [json.loads(line) for line in lines]
    assert sum("loss" in row for row in results.history) == 10


def test_the_metrics_are_the_numbers_about_test(results):
    assert results.metrics["accuracy"] == results.accuracy["test"]
    assert results.metrics["macro_f1"] == results.test["macro_f1"]
    assert all(isinstance(value, float) for value in results.metrics.values())


def test_the_classifier_is_that_of_the_run(results, tmp_path_factory):
    expected = Classifier.load(finished_run(tmp_path_factory)).logits(["free"])
    np.testing.assert_array_equal(results.classifier.logits(["free"]), expected)
    assert results.classifier is results.classifier


def test_a_notebook_is_given_the_pictures(results):
    pytest.importorskip("matplotlib")
    assert set(results.plots) == {"loss", "accuracy", "confusion"}
    for picture in results.plots.values():
        assert picture._repr_png_().startswith(b"\x89PNG")


def test_it_is_shown_as_the_command_shows_it(results):
    first, second, *_ = repr(results).splitlines()
    assert first == "<Results of finished_run>"
    assert second.startswith("accuracy: train ")


def test_they_are_loaded_from_the_folder_of_the_run(
    results, tmp_path, tmp_path_factory
):
    found = Results.load(finished_run(tmp_path_factory))
    assert found.to_json() == results.to_json()
    assert found.history == results.history
    with pytest.raises(UserError, match="is the run finished"):
        Results.load(tmp_path)


def test_results_without_their_run_say_so(results):
    alone = Results.from_json(results.to_json())
    for name in ("history", "classifier", "plots"):
        with pytest.raises(UserError, match="is the run elsewhere now"):
            getattr(alone, name)
