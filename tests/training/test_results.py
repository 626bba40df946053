"""What `finetune` returns, in the hands of who called it."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from training_helpers import finished_run, run_config

from gpt2_jax.errors import UserError
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.training import collect
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


def test_pictures_are_drawn_while_the_model_is_saved(
    tmp_path_factory, tmp_path, monkeypatch
):
    pytest.importorskip("matplotlib")
    drawn, save, draw = threading.Event(), collect.save_model, collect.draw_figures

    def draw_figures(*arguments):
        figures = draw(*arguments)
        drawn.set()
        return figures

    def save_model(*arguments):
        assert drawn.wait(30)  # seconds
        return save(*arguments)

    monkeypatch.setattr(collect, "draw_figures", draw_figures)
    monkeypatch.setattr(collect, "save_model", save_model)
    config = run_config(tmp_path_factory, trainable=("head",), epochs=1)
    finetune(config, tmp_path / "run", verbose=False)
    assert (tmp_path / "run" / "loss.png").is_file()
    assert "<svg" in (tmp_path / "run" / "report.html").read_text()
