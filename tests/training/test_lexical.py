"""A lexical part in a run: put on, taken off, and refused where it has no place."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from training_helpers import error_line, run_config, shared_programs

from gpt2_jax import Classifier, finetune
from gpt2_jax.cli.main import main
from gpt2_jax.errors import UserError
from gpt2_jax.export.classifier import export_run
from gpt2_jax.inference.evaluate import evaluate_run
from gpt2_jax.model.tree import flatten
from gpt2_jax.training import beside
from gpt2_jax.training.callbacks import Callback
from gpt2_jax.weights.trained import (
    LEXICAL_FILE,
    Threshold,
    load_model,
    save_model,
)

TEXTS = ["win a free prize", "see you at lunch", "", "a long text, " * 40]


def _config(factory, *, lexical: bool):
    # A model that hardly learns: the n-grams tell what it does not.
    config = run_config(factory, learning_rate=1e-6, epochs=1)
    return dataclasses.replace(config, lexical=lexical, max_length=20)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[bool, Path]:
    """Return the folders of the same run with a lexical part and without."""
    folder = tmp_path_factory.mktemp("lexical")
    found = {on: folder / str(on) for on in (True, False)}
    with shared_programs(folder / "programs"):
        for on, workdir in found.items():
            finetune(_config(tmp_path_factory, lexical=on), workdir)
    return found


def test_it_adds_logits_to_those_of_the_same_model(runs):
    with_it, alone = (load_model(runs[on]) for on in (True, False))
    assert with_it.lexical is not None and alone.lexical is None
    assert with_it.alone().temperature == alone.temperature
    for name, leaf in flatten(alone.params).items():
        np.testing.assert_array_equal(flatten(with_it.params)[name], leaf)
    read = [*TEXTS[:3], Classifier(alone).tokenizer.encode(TEXTS[3])[:20]]
    read[3] = Classifier(alone).tokenizer.decode(read[3])
    expected = Classifier(alone).logits(TEXTS) + with_it.lexical.logits(read)
    np.testing.assert_allclose(Classifier(with_it).logits(TEXTS), expected, atol=1e-5)


def test_results_predictions_and_evaluation_are_of_both_together(runs):
    told = {on: json.loads((runs[on] / "results.json").read_text()) for on in runs}
    assert told[True]["accuracy"]["test"] > told[False]["accuracy"]["test"]
    for on, run in runs.items():
        lexical = told[on]["lexical"]
        assert lexical["on"] is on
        assert lexical["together"]["accuracy"] > lexical["alone"]["accuracy"]
        shown = f"accuracy {100 * told[on]['accuracy']['test']:.2f}%"
        assert any(line.startswith(shown) for line in evaluate_run(run, None).lines())
    assert told[True]["lexical"]["alone"] == told[False]["lexical"]["alone"]
    for name in ("report.html", "MODEL_CARD.md"):
        assert "Lexical part: validation" in (runs[True] / name).read_text()
        assert "With --lexical: validation" in (runs[False] / name).read_text()


@pytest.mark.slow
def test_it_is_put_on_and_taken_off_a_finished_run(runs, tmp_path, tmp_path_factory):
    for on, other in ((True, False), (False, True)):
        workdir = tmp_path / str(on)
        shutil.copytree(runs[other], workdir)
        config = _config(tmp_path_factory, lexical=on)
        finetune(config, workdir, resume=True)
        got, expected = Classifier.load(workdir), Classifier.load(runs[on])
        np.testing.assert_allclose(
            got.predict_proba(TEXTS), expected.predict_proba(TEXTS), atol=1e-6
        )
        assert (workdir / "model" / LEXICAL_FILE).exists() is on
        steps = (workdir / "metrics.jsonl").read_text()
        assert steps == (runs[other] / "metrics.jsonl").read_text()  # none was taken
        names = ("predictions.csv", "validation_predictions.csv")
        for name in names:
            assert (workdir / name).read_text() == (runs[on] / name).read_text()


@pytest.mark.slow
def test_a_finished_run_tells_of_another_class_when_it_is_asked(
    runs, tmp_path, tmp_path_factory
):
    shutil.copytree(runs[False], tmp_path / "run")
    config = _config(tmp_path_factory, lexical=False)
    other = dataclasses.replace(config.data, positive="ham")
    before = json.loads((tmp_path / "run" / "results.json").read_text())
    assert before["test"]["positive"] == "spam"
    config = dataclasses.replace(config, data=other)
    after = finetune(config, tmp_path / "run", resume=True)
    assert after.test["positive"] == load_model(tmp_path / "run").positive == "ham"
    assert after.accuracy == before["accuracy"]


@pytest.mark.slow
def test_a_threshold_of_other_probabilities_is_removed_aloud(
    runs, tmp_path, tmp_path_factory, caplog
):
    shutil.copytree(runs[False], tmp_path / "run")
    trained = load_model(tmp_path / "run")
    stored = dataclasses.replace(trained, threshold=Threshold("spam", 0.9))
    save_model(tmp_path / "run" / "model", stored)
    config = _config(tmp_path_factory, lexical=True)
    finetune(config, tmp_path / "run", resume=True)
    assert load_model(tmp_path / "run").threshold is None
    assert "the stored threshold was of other probabilities" in caplog.text


@pytest.mark.slow
def test_without_a_comparison_the_ngrams_still_count(tmp_path, tmp_path_factory):
    config = _config(tmp_path_factory, lexical=True)
    config = dataclasses.replace(config, baselines="none")
    results = finetune(config, tmp_path / "run")
    assert results.baselines["tfidf_logreg"] is None
    assert results.baselines["left_out"] and results.baselines["verdict"] is None
    assert load_model(tmp_path / "run").lexical is not None


def test_without_checkpoints_it_is_not_trained_again(runs, tmp_path, tmp_path_factory):
    shutil.copytree(runs[False], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    config = _config(tmp_path_factory, lexical=True)
    with pytest.raises(UserError, match="its checkpoints are gone"):
        finetune(config, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "results.json").is_file()


@pytest.mark.slow
def test_what_cannot_hold_it_says_so(runs, tmp_path, capsys):
    for to in ("hf", "stablehlo"):
        with pytest.raises(UserError, match="--without-lexical"):
            export_run(runs[True], tmp_path / "out", to)
    done = ["export", str(runs[True]), str(tmp_path / "out"), "--format", "hf"]
    assert main([*done, "--without-lexical"]) == 0
    exported = Classifier.from_weights(tmp_path / "out", max_length=20)
    np.testing.assert_allclose(
        exported.predict_proba(TEXTS),
        Classifier.load(runs[False]).predict_proba(TEXTS),
        atol=1e-6,
    )
    capsys.readouterr()
    argv = ["predict", str(runs[True]), "a text", "--explain", "gradients"]
    assert "do not reach the lexical part" in error_line(capsys, argv, 2)


def test_words_that_only_the_ngrams_know_are_explained(runs):
    told = {
        on: Classifier.load(run).explain(["it is urgent"])[0]
        for on, run in runs.items()
    }
    largest = {on: max(told[on], key=lambda word: abs(word.weight)) for on in told}
    assert largest[True].word == "urgent"
    assert abs(largest[True].weight) > 5 * abs(largest[False].weight)


def test_a_damaged_one_is_refused(runs, tmp_path):
    shutil.copytree(runs[True], tmp_path / "run")
    path = tmp_path / "run" / "model" / LEXICAL_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(UserError, match=LEXICAL_FILE):
        Classifier.load(tmp_path / "run")


@pytest.mark.slow
def test_linear_models_are_fitted_beside_the_training(
    tmp_path, tmp_path_factory, monkeypatch
):
    trained, fit_linear = threading.Event(), beside.fit_linear

    def waiting(*arguments, **keywords):
        assert trained.wait(60), "the training waits for the linear models"
        return fit_linear(*arguments, **keywords)

    class Trains(Callback):
        def on_epoch(self, epoch, metrics) -> None:
            trained.set()

    monkeypatch.setattr(beside, "fit_linear", waiting)
    config = _config(tmp_path_factory, lexical=True)
    results = finetune(config, tmp_path / "run", callbacks=[Trains()])
    assert results.baselines["tfidf_logreg"] is not None


@pytest.mark.slow
def test_what_fails_in_their_thread_fails_the_run(
    tmp_path, tmp_path_factory, monkeypatch
):
    def broken(*arguments, **keywords):
        raise ValueError("no such solver")

    monkeypatch.setattr(beside, "fit_linear", broken)
    with pytest.raises(ValueError, match="no such solver"):
        finetune(_config(tmp_path_factory, lexical=True), tmp_path / "run")
