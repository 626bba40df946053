"""A whole run: what it writes, what it leaves alone, and how it goes on."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, write_table
from training_helpers import (
    ON_DISK,
    compilations,
    finished_run,
    losses,
    run_config,
    write_texts,
)

from gpt2_jax.config import FinetuneConfig, to_dict
from gpt2_jax.engine.resident import ResidentSteps
from gpt2_jax.errors import DeviceError, UserError
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import flatten
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.plan.task import Task
from gpt2_jax.training.callbacks import Callback
from gpt2_jax.training.finetune import finetune
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.trained import load_model
from gpt2_jax.workdir.clock import Clock
from gpt2_jax.workdir.predictions import write_predictions
from gpt2_jax.workdir.signals import Interrupted, StopSignals

_STEPS = list(range(1, 11))


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> FinetuneConfig:
    return run_config(tmp_path_factory)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return finished_run(tmp_path_factory)


@pytest.fixture(scope="module")
def run_without_reuse(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("without_reuse") / "run"
    finetune(run_config(tmp_path_factory, reuse_trunk=False), workdir)
    return workdir


def _lines(workdir: Path) -> list[dict]:
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("which", ["run", "run_without_reuse"])
def test_a_run_changes_what_trains_and_leaves_the_rest_bit_equal(
    which, request, config
):
    trained = flatten(load_model(request.getfixturevalue(which)).params)
    start = flatten(load_pretrained(config.weights)[1])
    assert set(trained) == set(start) | {"out_head/kernel", "out_head/bias"}
    for path, leaf in start.items():
        same = trained[path].tobytes() == leaf.tobytes()
        assert same == (not path.startswith(("h_2/", "ln_f/"))), path


def test_a_run_is_the_same_with_the_trunk_run_once_or_in_every_step(
    run, run_without_reuse
):
    once, always = losses(run), losses(run_without_reuse)
    np.testing.assert_allclose(once, always, rtol=1e-4)
    predicted = [
        (path / "predictions.csv").read_text().splitlines()
        for path in (run, run_without_reuse)
    ]
    for ours, theirs in zip(*predicted, strict=True):
        assert ours.split(",")[:3] == theirs.split(",")[:3]


def test_a_run_learns_and_can_still_be_wrong(run):
    results = json.loads((run / "results.json").read_text())
    assert results["accuracy_before"] < results["accuracy"]["test"]
    assert results["accuracy"]["train"] < 1.0  # so that comparisons can fail


_NUMBER = (int, float)
_TYPES = {
    "accuracy": {"train": float, "validation": float, "test": float},
    "test": {
        "precision": float,
        "recall": float,
        "f1": float,
        "confusion": list,
        "roc_auc": float,
        "pr_auc": float,
        "brier": float,
        "ece": float,
        "ci95": list,
        "n": int,
        "per_class": dict,
        "errors": list,
    },
    "calibration": {
        "temperature": float,
        "fitted_on": int,
        "validation": dict,
        "test": dict,
    },
    "baselines": {"majority": float, "tfidf_logreg": (float, type(None))},
    "seconds": dict.fromkeys(
        ("load", "trunk", "compile", "train", "evaluate", "total"), _NUMBER
    ),
    "steps": int,
    "examples_seen": int,
    "params": {"total": int, "trainable": int},
    "weights": str,
    "data": {"name": str, "sha256": str, "rows": int, "classes": list},
    "seed": int,
    "device": str,
    "versions": dict,
    "dtype": str,
    "precision": str,
}


def test_results_have_every_promised_key_with_its_type(run):
    results = json.loads((run / "results.json").read_text())
    for name, expected in _TYPES.items():
        if not isinstance(expected, dict):
            assert type(results[name]) is expected, name
            continue
        for key, kind in expected.items():
            assert isinstance(results[name][key], kind), f"{name}.{key}"


def test_results_are_consistent_with_themselves(run, config):
    results = json.loads((run / "results.json").read_text())
    test, data = results["test"], results["data"]
    assert results["steps"] == 10
    assert results["examples_seen"] == 80
    assert data["rows"] == 60 and data["classes"] == ["ham", "spam"]
    assert sum(data["used"].values()) + data["dropped"] == 60
    assert test["n"] == data["used"]["test"] == np.sum(test["confusion"])
    hits = np.trace(test["confusion"]) / test["n"]
    assert results["accuracy"]["test"] == pytest.approx(hits)
    low, high = test["ci95"]
    assert low < hits < high
    whole = param_shapes(dataclasses.replace(ON_DISK, num_classes=2))
    sizes = {p: int(np.prod(leaf.shape)) for p, leaf in flatten(whole).items()}
    assert results["params"] == {
        "total": sum(sizes.values()),
        "trainable": sum(
            size
            for path, size in sizes.items()
            if path.startswith(("h_2/", "ln_f/", "out_head/"))
        ),
    }
    calibration = results["calibration"]
    assert calibration["fitted_on"] == data["used"]["validation"]
    assert calibration["test"]["ece_after"] == test["ece"]
    assert calibration["temperature"] == load_model(run).temperature
    seconds = results["seconds"]
    assert seconds["load"] + seconds["train"] + seconds["trunk"] <= seconds["total"]


def test_a_run_writes_every_promised_file(run, config):
    for name in (
        "config.json",
        "metrics.jsonl",
        "results.json",
        "checkpoints",
        "model/params.safetensors",
        "model/classifier.json",
        "predictions.csv",
        "validation_predictions.csv",
        "curves.json",
        "report.html",
        "MODEL_CARD.md",
    ):
        assert (run / name).exists(), name
    assert json.loads((run / "config.json").read_text()) == json.loads(
        json.dumps(to_dict(config))
    )


def test_metrics_have_every_step_and_every_evaluation(run):
    assert [step for step, _ in losses(run)] == _STEPS
    evaluated = [line["step"] for line in _lines(run) if "train_loss" in line]
    assert evaluated == [1, 4, 7, 10]
    epochs = [(line["step"], line["epoch"]) for line in _lines(run) if "epoch" in line]
    assert epochs == [(5, 1), (10, 2)]


@pytest.mark.slow
def test_a_run_compiles_a_step_and_a_prediction_for_each_width(
    tmp_path_factory, tmp_path
):
    # Twice the epochs and evaluations: nothing more to compile.
    for num_epochs, every in ((1, 3), (2, 1)):
        config = run_config(tmp_path_factory, epochs=num_epochs, eval_every=every)
        with compilations() as compiled:
            finetune(config, tmp_path / f"run{num_epochs}")
        assert compiled["train_steps"] == 1
        # The few texts of a tiny part fill a smaller batch.
        assert 1 <= compiled["predict_rows"] <= 3
        assert compiled["block"] <= 1


def test_a_used_workdir_is_refused_and_left_alone(run, config):
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    with pytest.raises(UserError, match="holds a run already"):
        finetune(config, run)
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_a_config_of_an_unknown_kind_is_refused_in_one_line(config, tmp_path):
    (tmp_path / "config.json").write_text('{"colour": "red"}')
    (tmp_path / "run.json").write_text('{"is": {}, "changes": []}')
    with pytest.raises(UserError, match="colour"):
        finetune(config, tmp_path, resume=True)


def test_a_run_that_cannot_start_does_not_take_its_workdir(tmp_path_factory, tmp_path):
    with pytest.raises(DeviceError):
        finetune(run_config(tmp_path_factory, devices=99), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_workdir_that_cannot_be_made_is_a_user_error(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        finetune(config, tmp_path / "file" / "run")


def test_an_unknown_scope_is_a_user_error(tmp_path_factory, tmp_path):
    config = run_config(tmp_path_factory, trainable=("last_blok",))
    with pytest.raises(UserError, match="match no parameter: last_blok"):
        finetune(config, tmp_path / "run")


def _class_weights(task: Task) -> np.ndarray:
    """Return what a training text of each class weighs."""
    rows = task.texts.parts["train"]
    classes, first = np.unique(task.texts.labels[rows], return_index=True)
    assert len(classes) == len(task.dataset.classes)
    return task.texts.loss_weights[rows[first]]


def test_class_weights_make_every_class_weigh_the_same(tmp_path_factory, tmp_path):
    path = write_texts(tmp_path / "uneven.csv")
    rows = path.read_text().splitlines()
    few = [row for i, row in enumerate(rows) if i % 6 or not i]  # drops spam only
    path.write_text("\n".join(few) + "\n")
    config = run_config(tmp_path_factory)
    data = dataclasses.replace(config.data, source=str(path), balance="weights")
    prepared = prepare(dataclasses.replace(config, data=data))
    counts = np.bincount(prepared.labels("train"))
    assert counts[0] != counts[1]
    sums = _class_weights(prepared) * counts
    np.testing.assert_allclose(sums, counts.sum() / 2, rtol=1e-6)


def test_each_of_many_classes_weighs_the_same(tmp_path_factory, tmp_path):
    path = write_table(tmp_path / "three.csv", rows=90, classes=("a", "b", "c"))
    rows = path.read_text().splitlines()
    few = [r for i, r in enumerate(rows) if not r.endswith(("a", "b")) or i % 9 < 5]
    path.write_text("\n".join(few) + "\n")
    config = run_config(tmp_path_factory)
    data = dataclasses.replace(config.data, source=str(path), balance="weights")
    prepared = prepare(dataclasses.replace(config, data=data))
    counts = np.bincount(prepared.labels("train"))
    assert len(set(counts)) > 1 and len(counts) == 3
    sums = _class_weights(prepared) * counts
    np.testing.assert_allclose(sums, counts.sum() / 3, rtol=1e-6)


def test_the_kept_model_is_the_best_on_validation(run, tmp_path_factory):
    epochs = [line for line in _lines(run) if "epoch" in line]
    best = max(epochs, key=lambda e: (e["validation_accuracy"], -e["validation_loss"]))
    results = json.loads((run / "results.json").read_text())
    assert results["accuracy"]["validation"] == best["validation_accuracy"]


def test_predictions_are_of_the_test_part_in_its_order(run, config):
    prepared = prepare(config)
    rows = (run / "predictions.csv").read_text().splitlines()
    assert rows[0] == "text,label,predicted,p_ham,p_spam"
    fields = [row.split(",") for row in rows[1:]]
    assert [f[0] for f in fields] == prepared.texts_of("test")
    labels = [prepared.dataset.classes[i] for i in prepared.labels("test")]
    assert [f[1] for f in fields] == labels
    assert [f[2] for f in fields] == Classifier.load(run).predict(
        prepared.texts_of("test")
    )


def test_the_errors_are_the_wrong_rows_of_the_predictions(run):
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    errors = json.loads((run / "results.json").read_text())["test"]["errors"]
    wrong = {i for i, row in enumerate(rows) if row["label"] != row["predicted"]}
    assert {error["row"] for error in errors} == wrong != set()
    for error in errors:
        row = rows[error["row"]]
        assert (error["label"], error["predicted"]) == (row["label"], row["predicted"])
        shown = float(row[f"p_{row['predicted']}"])
        assert error["prob"] == pytest.approx(shown, abs=1e-6)
    probabilities = [error["prob"] for error in errors]
    assert probabilities == sorted(probabilities, reverse=True)
    report = (run / "report.html").read_text("utf-8")
    assert html.escape(rows[errors[0]["row"]]["text"]) in report


def test_texts_of_half_an_emoji_do_not_stop_a_run_at_its_end(tmp_path):
    # JSON may hold a lone surrogate, and GPT-2's encoding takes it.
    write_predictions(
        tmp_path / "p.csv", ["half \ud83d"], ["ham"], np.array([[0.9, 0.1]]), ["a", "b"]
    )
    assert (tmp_path / "p.csv").read_text("utf-8").count("\n") == 2


def test_a_second_signal_has_its_usual_effect(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with StopSignals(tmp_path) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested == signal.SIGINT
        with pytest.raises(Interrupted) as caught:
            stop.poll()
        assert caught.value.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_time_inside_a_phase_is_not_counted_twice():
    clock = Clock()
    with clock.phase("train"):
        time.sleep(0.02)
        with clock.phase("evaluate"):
            time.sleep(0.05)
    seconds = clock.seconds
    assert seconds["evaluate"] >= 0.05
    assert 0.02 <= seconds["train"] < 0.05
    assert seconds["total"] >= 0.07


def test_the_model_on_disk_is_the_tiny_one(run):
    config = load_model(run).config
    assert config.embed_dim == TINY.embed_dim
    assert config.lora_rank == 0 and config.dropout_rate == 0.0


class _CountsByEpoch(Callback):
    def __init__(self, calls):
        self.calls, self.epochs = calls, []

    def on_epoch(self, epoch, metrics):
        self.epochs.append(dict(self.calls))
        self.calls.clear()


@pytest.mark.slow
def test_an_epoch_is_few_calls_and_few_bytes(tmp_path_factory, tmp_path, monkeypatch):
    calls, sent = Counter(), []
    for name in ("train", "predict"):
        real = getattr(ResidentSteps, name)

        def counted(*arguments, name=name, real=real):
            calls[name] += 1
            sent.extend(a.nbytes for a in arguments if isinstance(a, np.ndarray))
            return real(*arguments)

        monkeypatch.setattr(ResidentSteps, name, counted)
    monkeypatch.setattr("gpt2_jax.training.loop.CALL_SECONDS", 1e9)
    config = run_config(tmp_path_factory, batch_size=1, epochs=3, eval_every=10**6)
    watching = _CountsByEpoch(calls)
    results = finetune(config, tmp_path / "run", callbacks=[watching])
    assert results.steps == 3 * 42
    # One of train steps, then validation, and a few training texts.
    assert watching.epochs[-1] == {"train": 1, "predict": 2}
    assert watching.epochs[0]["train"] == 6  # 1, 2, 4, ...: how long they take is seen
    assert max(sent) <= 64 * 8  # rows of texts, never the texts
