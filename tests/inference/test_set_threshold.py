"""Decisions of a run: its threshold, its abstentions, its temperature."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from training_helpers import finished_run, random_run

from gpt2_jax.cli.main import main
from gpt2_jax.data.balance import BALANCED
from gpt2_jax.evaluation.metrics import softmax, wilson_interval
from gpt2_jax.export.classifier import export_run, fold_temperature
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.weights.trained import Threshold, load_model, save_model
from gpt2_jax.workdir.predictions import write_predictions

TEXTS = ["free prize", "see you", "call mum", "urgent", ""]
CLASSES = ("ham", "spam")


@pytest.fixture
def run(tmp_path) -> Path:
    """A run with known predictions: on validation 0.8 divides, on test it does not."""
    folder = random_run(tmp_path / "run")
    for name, spam in (
        (
            "validation_predictions.csv",
            [(0.95, 1), (0.9, 1), (0.7, 0), (0.6, 1), (0.1, 0)] * 60,
        ),
        ("predictions.csv", [(0.99, 0), (0.9, 1), (0.5, 1), (0.2, 0)]),
    ):
        _write(folder / name, spam)
    return folder


def _write(path: Path, spam: list[tuple[float, int]]) -> None:
    rows = np.array([[1 - p, p] for p, _ in spam])
    labels = [CLASSES[label] for _, label in spam]
    write_predictions(path, labels, labels, rows, CLASSES)


def test_the_threshold_is_chosen_on_validation_alone_and_stored(run, capsys):
    assert main(["threshold", str(run), "--target-precision", "0.99"]) == 0
    out = capsys.readouterr().out
    assert "threshold: spam from a probability of 0.800000 on" in out
    low, high = wilson_interval(120, 120)
    assert (
        f"validation: precision 1.0000 (95% interval {low:.4f} to {high:.4f}), recall "
        "0.6667; 120 of 300 texts above it; 180 are spam, a prevalence of 60.0%"
    ) in out
    assert "test: precision 0.5000 (95% interval 0.0945 to 0.9055)" in out
    assert "recall 0.5000; 2 of 4 texts above it; 2 are spam" in out
    assert "balanced" not in out
    stored = load_model(run).threshold
    assert isinstance(stored, Threshold) and stored.positive == "spam"
    assert stored.value == pytest.approx(0.8)


@pytest.mark.parametrize(("above", "accepted"), [(99, False), (100, True)])
def test_a_precision_that_so_few_texts_cannot_tell_is_refused(
    run, above, accepted, capsys
):
    _write(run / "validation_predictions.csv", [(0.9, 1)] * above + [(0.2, 0)] * 9)
    code = main(["threshold", str(run), "--target-precision", "0.99"])
    assert (code == 0) == accepted
    assert (load_model(run).threshold is not None) == accepted
    if not accepted:
        error = capsys.readouterr().err
        assert "99 of 108 validation texts are above the threshold" in error
        assert "that takes 100; ask for 0.98 or less" in error
    assert main(["threshold", str(run), "--target-precision", "1"]) == 2


def test_no_precision_of_nothing_is_advised(run, capsys):
    _write(run / "validation_predictions.csv", [(0.9, 1)] + [(0.2, 0)] * 9)
    assert main(["threshold", str(run), "--target-precision", "0.9"]) == 2
    assert "takes 10; train with a larger validation" in capsys.readouterr().err


def test_on_balanced_parts_the_precision_is_said_to_hold_for_them_only(run, capsys):
    told = {"data": {"balanced": True, "split": "at random"}}
    (run / "results.json").write_text(json.dumps(told))
    assert main(["threshold", str(run), "--target-recall", "0.9"]) == 0
    assert BALANCED in capsys.readouterr().out
    (run / "results.json").unlink()  # an older run tells it by its config
    old = {"data": {"balance": "undersample", "book": False}}
    (run / "config.json").write_text(json.dumps(old))
    assert main(["threshold", str(run), "--target-recall", "0.9"]) == 0
    assert BALANCED in capsys.readouterr().out


def test_the_class_is_that_of_the_run_and_of_an_old_run_the_second(run, capsys):
    assert main(["threshold", str(run), "--target-recall", "0.5"]) == 0
    assert "threshold: spam" in capsys.readouterr().out
    trained = dataclasses.replace(load_model(run), positive="ham")
    save_model(run / "model", trained)
    assert load_model(run).positive == "ham"
    assert main(["threshold", str(run), "--target-recall", "0.5"]) == 0
    assert "threshold: ham" in capsys.readouterr().out


def test_a_stored_threshold_decides_and_can_be_removed(run, capsys):
    before = Classifier.load(run).predict(TEXTS)
    rows = Classifier.load(run).predict_proba(TEXTS)
    trained = load_model(run)
    middle = float(np.sort(rows[:, 1])[1:3].mean())
    save_model(
        run / "model", dataclasses.replace(trained, threshold=Threshold("spam", middle))
    )
    classifier = Classifier.load(run)
    expected = ["spam" if p >= middle else "ham" for p in rows[:, 1]]
    assert classifier.predict(TEXTS) == classifier.decide(rows) == expected
    assert expected != before  # the likeliest are others
    assert main(["predict", str(run), *TEXTS[:2]]) == 0
    out = capsys.readouterr().out
    assert [line.split("\t")[0] for line in out.splitlines()] == expected[:2]
    assert main(["threshold", str(run), "--remove"]) == 0
    assert Classifier.load(run).predict(TEXTS) == before


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (
            ["--target-precision", "0.9", "--positive", "ham"],
            2,
            "the best is precision 0.6667, recall 1.0000",
        ),
        (["--target-recall", "1", "--positive", "eggs"], 2, "'eggs' is no class"),
    ],
)
def test_a_target_out_of_reach_is_refused_with_the_best(
    run, flags, code, message, capsys
):
    path = run / "validation_predictions.csv"
    path.write_text(
        "text,label,predicted,p_ham,p_spam\n"
        "a,spam,ham,0.99,0.01\nb,ham,ham,0.9,0.1\nc,ham,ham,0.8,0.2\nd,spam,spam,0,1\n"
    )
    assert main(["threshold", str(run), *flags]) == code
    assert message in capsys.readouterr().err
    assert load_model(run).threshold is None


def test_a_run_without_its_predictions_and_unnamed_classes_are_refused(
    run, tmp_path, capsys
):
    (run / "validation_predictions.csv").unlink()
    assert main(["threshold", str(run), "--target-recall", "0.5"]) == 5
    assert "validation_predictions.csv: no such file" in capsys.readouterr().err
    three = random_run(tmp_path / "three", classes=("a", "b", "c"))
    assert main(["threshold", str(three), "--target-recall", "0.5"]) == 2
    assert "name one with --positive: a, b, c" in capsys.readouterr().err
    for wrong in ("1.5", "nan", "-0.1"):
        with pytest.raises(SystemExit):
            main(["threshold", str(run), "--target-recall", wrong])


def test_predict_gives_no_label_below_the_probability_asked_for(run, capsys, tmp_path):
    rows = Classifier.load(run).predict_proba(TEXTS)
    limit = float(np.sort(rows.max(-1))[1:3].mean())
    output = tmp_path / "out.jsonl"
    argv = ["predict", str(run), *TEXTS, "--abstain-below", f"{limit:.12f}"]
    assert main([*argv, "--output", str(output)]) == 0
    labels = [json.loads(line)["label"] for line in output.read_text().splitlines()]
    assert [label is None for label in labels] == (rows.max(-1) < limit).tolist()
    assert 0 < labels.count(None) < len(TEXTS)


def test_evaluate_tells_coverage_and_the_accuracy_of_what_is_answered(
    tmp_path_factory, capsys
):
    run = finished_run(tmp_path_factory)
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    probability = [max(float(row["p_ham"]), float(row["p_spam"])) for row in rows]
    limit = sorted(probability)[len(rows) // 2] - 1e-4
    sure = [row for row, p in zip(rows, probability, strict=True) if p >= limit]
    right = sum(row["label"] == row["predicted"] for row in sure)
    assert main(["evaluate", str(run), "--abstain-below", str(limit)]) == 0
    expected = (
        f"{len(sure)} of {len(rows)} texts answered "
        f"({100 * len(sure) / len(rows):.1f}%), accuracy of these "
        f"{100 * right / len(sure):.2f}%"
    )
    assert expected in capsys.readouterr().out


def _calibrated(folder: Path, temperature: float = 2.5) -> Path:
    run = random_run(folder)
    trained = dataclasses.replace(load_model(run), temperature=temperature)
    shutil.rmtree(run / "model")
    save_model(run / "model", trained)
    return run


def test_the_stored_temperature_is_applied_and_changes_no_label(tmp_path):
    run = _calibrated(tmp_path / "run")
    classifier = Classifier.load(run)
    logits = classifier.logits(TEXTS)
    np.testing.assert_allclose(classifier.predict_proba(TEXTS), softmax(logits / 2.5))
    assert classifier.predict(TEXTS) == [CLASSES[i] for i in logits.argmax(-1)]


@pytest.mark.slow
def test_an_export_has_the_temperature_in_its_head_and_says_what_it_has(tmp_path):
    run = _calibrated(tmp_path / "run")
    expected = Classifier.load(run).predict_proba(TEXTS)
    trained = dataclasses.replace(load_model(run), threshold=Threshold("spam", 0.9))
    save_model(run / "model", trained)
    lines = export_run(run, tmp_path / "hf", "hf")
    assert any("the temperature 2.5000 is in the head" in line for line in lines)
    assert any("not in it: 'spam' from a probability of 0.9" in line for line in lines)
    got = Classifier.from_weights(tmp_path / "hf", max_length=20)
    np.testing.assert_allclose(got.predict_proba(TEXTS), expected, atol=1e-6)
    folded = Classifier(fold_temperature(trained))
    np.testing.assert_allclose(softmax(folded.logits(TEXTS)), expected, atol=1e-6)


def test_a_rare_class_is_named_from_the_threshold_of_its_best_f1_on(run, capsys):
    # It is the likeliest label of none: two of the four texts above 0.2 are of it.
    rare = [(0.4, 1), (0.3, 0), (0.3, 1), (0.25, 0), *[(0.01, 0)] * 96]
    _write(run / "validation_predictions.csv", rare)
    assert main(["threshold", str(run), "--best-f1"]) == 0
    out = capsys.readouterr().out
    assert "threshold: spam from a probability of 0.275000 on" in out
    assert "validation: precision 0.6667" in out and "recall 1.0000" in out
    stored = load_model(run).threshold
    assert stored is not None and stored.positive == "spam"
    assert stored.value == pytest.approx(0.275)
    assert main(["threshold", str(run), "--remove"]) == 0
    assert load_model(run).threshold is None
