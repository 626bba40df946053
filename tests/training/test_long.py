"""Runs on texts that are longer than the model reads at once."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from training_helpers import run_config, shared_programs

from gpt2_jax import Classifier, Memo, finetune
from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.export.classifier import export_run
from gpt2_jax.inference.evaluate import evaluate_run
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.storage.sealed import read_sealed, sealed
from gpt2_jax.weights.trained import MODEL_FILE, load_model

LIMIT = 8
TEXTS = ["call me", "one two three four five six seven eight nine ten " * 3, ""]


def _config(factory, long: str, **train):
    config = run_config(factory, epochs=1, **train)
    return dataclasses.replace(config, long=long, max_length=LIMIT)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    with shared_programs(folder / "programs"):
        for long in ("head_tail", "windows"):
            finetune(_config(tmp_path_factory, long), folder / long)
    return folder


def test_a_text_counts_once_in_the_loss_whatever_its_pieces(tmp_path_factory):
    task = prepare(_config(tmp_path_factory, "windows"))
    texts, owners = task.texts, task.texts.owners
    assert owners is not None and len(owners) > len(task.num_tokens)
    np.testing.assert_allclose(np.bincount(owners, texts.loss_weights), 1, rtol=1e-6)
    assert (texts.lengths <= LIMIT).all() and task.cut == 0
    for part, rows in task.split.parts().items():
        of_part = texts.pieces_of(texts.parts[part])
        assert len(np.unique(of_part)) == len(rows) == len(task.labels(part))
        expected = np.asarray(task.dataset.labels)[rows]
        np.testing.assert_array_equal(task.labels(part), expected)


@pytest.mark.slow
def test_a_window_is_a_text_and_the_logits_of_all_are_averaged(runs):
    trained = load_model(runs / "windows")
    assert (trained.long, trained.max_length) == ("windows", LIMIT)
    alone = Classifier(trained.alone())
    ids = alone.tokenizer.encode(TEXTS[1])
    starts = [*range(0, len(ids) - LIMIT, 6), len(ids) - LIMIT]
    windows = [alone.tokenizer.decode(ids[i : i + LIMIT]) for i in starts]
    assert [len(alone.tokenizer.encode(w)) for w in windows] == [LIMIT] * len(windows)
    expected = alone.logits(windows).mean(0)
    np.testing.assert_allclose(alone.logits(TEXTS)[1], expected, atol=1e-5)
    np.testing.assert_allclose(
        alone.embed(TEXTS)[1], alone.embed(windows).mean(0), atol=1e-5
    )


@pytest.mark.slow
def test_the_end_of_a_text_counts(runs):
    other = TEXTS[1] + " prize prize prize"
    for long in ("head_tail", "windows"):
        alone = Classifier(load_model(runs / long).alone())
        assert np.abs(np.diff(alone.logits([TEXTS[1], other]), axis=0)).max() > 1e-4


@pytest.mark.slow
def test_results_and_predictions_are_of_texts_not_of_pieces(runs):
    for long in ("head_tail", "windows"):
        results = json.loads((runs / long / "results.json").read_text())
        with (runs / long / "predictions.csv").open(encoding="utf-8") as file:
            test = list(csv.DictReader(file))
        assert len(test) == results["data"]["used"]["test"] == results["test"]["n"]
        lines = evaluate_run(runs / long, None).lines()
        accuracy = 100 * results["accuracy"]["test"]
        assert any(f"accuracy {accuracy:.2f}%" in line for line in lines)
        cut = results["data"]["cut"]
        assert cut == 0 if long == "windows" else cut > 0
        got = Classifier.load(runs / long).classify(TEXTS)
        assert [p.truncated for p in got] == [False, long == "head_tail", False]


@pytest.mark.slow
def test_the_steps_on_pieces_are_those_of_the_whole_model(tmp_path_factory, tmp_path):
    plain = _config(tmp_path_factory, "windows", reuse_trunk=False)
    reused = _config(tmp_path_factory, "windows")
    found = [finetune(c, tmp_path / str(i)) for i, c in enumerate((plain, reused))]
    losses = [
        [row["train_loss"] for row in r.history if "train_loss" in row] for r in found
    ]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)


@pytest.mark.slow
def test_words_at_the_end_are_explained_and_gradients_refused(runs):
    classifier = Classifier.load(runs / "windows")
    (words,) = classifier.explain([TEXTS[1]])
    assert words[-1].end == len(TEXTS[1].rstrip())
    alone = Classifier(load_model(runs / "windows").alone())
    assert alone.attributions(TEXTS[:1])
    with pytest.raises(UserError, match=r"not of \d+ tokens; explain with occl"):
        alone.attributions(TEXTS)


@pytest.mark.slow
def test_an_export_says_what_it_does_not_do(runs, tmp_path):
    said = export_run(runs / "windows", tmp_path / "hf", "hf", without_lexical=True)
    assert any(f"more than {LIMIT} tokens" in line for line in said)


@pytest.mark.slow
def test_models_of_before_are_cut_and_unknown_ways_are_refused(runs):
    path = runs / "windows" / "model" / MODEL_FILE
    stored = read_sealed(path)
    before = {name: value for name, value in stored.items() if name != "long"}
    write_json(path, sealed(before))
    assert load_model(runs / "windows").long == "cut"
    write_json(path, sealed({**stored, "long": "backwards"}))
    with pytest.raises(WeightsError, match="long='backwards'"):
        load_model(runs / "windows")
    write_json(path, sealed(stored))


@pytest.mark.slow
def test_runs_that_read_texts_otherwise_share_no_ngrams(tmp_path_factory, tmp_path):
    memo, found = Memo(), []
    for name, long, shared in (
        ("a", "cut", memo),
        ("b", "windows", memo),
        ("c", "windows", None),
    ):
        config = _config(tmp_path_factory, long, learning_rate=1e-6)
        config = dataclasses.replace(config, lexical=True)
        finetune(config, tmp_path / name, memo=shared)
        found.append((tmp_path / name / "predictions.csv").read_text())
    assert found[0] != found[1] == found[2]
