"""A run that goes on from the classifier of another: `--weights RUN`."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from training_helpers import finished_run, random_run, run_config, shared_programs

from gpt2_jax.config import DataConfig, FinetuneConfig
from gpt2_jax.plan.describe import describe
from gpt2_jax.plan.head import keep_head
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.plan.task import Task
from gpt2_jax.training.finetune import finetune
from gpt2_jax.weights.pretrained import read_pretrained
from gpt2_jax.weights.trained import load_model

_TEXTS = ("a small cat", "the river", "my old car", "two pens", "no more", "all right")


@pytest.fixture(scope="module", autouse=True)
def _programs(tmp_path_factory):
    with shared_programs(tmp_path_factory.getbasetemp() / "programs"):
        yield


def _config(folder: Path, run: Path, classes: Sequence[str], **fields):
    """Return a config that goes on from `run` with texts of `classes`."""
    path = folder / "own.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(10):
            writer.writerows((f"{number} {_TEXTS[number % 6]} {c}", c) for c in classes)
    return FinetuneConfig(weights=str(run), data=DataConfig(source=str(path)), **fields)


def _column(task: Task, label: str) -> np.ndarray:
    """Return the weights and the bias of a class."""
    head, index = task.params["out_head"], task.dataset.classes.index(label)
    return np.append(np.asarray(head["kernel"])[:, index], head["bias"][index])


def _trained_column(run: Path, label: str) -> np.ndarray:
    trained = load_model(run)
    head, index = trained.params["out_head"], trained.classes.index(label)
    return np.append(head["kernel"][:, index], head["bias"][index])


def _told(task: Task) -> str:
    return "\n".join(describe(task))


@pytest.mark.slow
def test_a_run_goes_on_where_another_ended(tmp_path_factory, tmp_path):
    before = finished_run(tmp_path_factory)
    config = dataclasses.replace(run_config(tmp_path_factory), weights=str(before))
    trained, task = load_model(before), prepare(config)
    head = task.params["out_head"]
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(head[name], trained.params["out_head"][name])
    assert "its trained head is kept, all 2 classes" in _told(task)
    old = json.loads((before / "results.json").read_text())["accuracy"]["test"]
    assert finetune(config, tmp_path / "next").accuracy_before == pytest.approx(old)
    finetune(config, tmp_path / "next", resume=True)  # it is the same run


def test_classes_are_known_by_their_names_in_any_order(tmp_path):
    run = random_run(tmp_path / "run", classes=("spam", "ham", "news"))
    task = prepare(_config(tmp_path, run, ("ham", "news", "spam")))
    assert task.dataset.classes == ("ham", "news", "spam")
    for label in task.dataset.classes:
        np.testing.assert_array_equal(_column(task, label), _trained_column(run, label))


def test_new_classes_stand_beside_the_old_ones(tmp_path):
    run = random_run(tmp_path / "run", classes=("ham", "spam", "gone"))
    task = prepare(_config(tmp_path, run, ("alpha", "ham", "spam")))
    fresh = prepare(_config(tmp_path, run, ("alpha", "ham", "spam"), pool="mean"))
    for label in ("ham", "spam"):
        np.testing.assert_array_equal(_column(task, label), _trained_column(run, label))
    np.testing.assert_array_equal(_column(task, "alpha"), _column(fresh, "alpha"))
    told = _told(task)
    assert "its trained head is kept for 2 classes" in told
    assert "new, not trained yet: alpha" in told
    assert "left out, as no text has them: gone" in told


@pytest.mark.parametrize(
    ("classes", "fields", "told"),
    [
        (("cat", "dog"), {}, "not kept: its classes are ham, spam"),
        (("ham", "spam"), {"pool": "mean"}, "not kept: it reads --pool last_real"),
        (("ham", "spam"), {"causal": False}, "not kept: it was trained with --causal"),
    ],
)
def test_a_head_that_cannot_be_kept_is_told(classes, fields, told, tmp_path):
    run = random_run(tmp_path / "run")
    task = prepare(_config(tmp_path, run, classes, **fields))
    assert told in _told(task)
    assert abs(_column(task, classes[1])[:-1]).max() < 1  # the trained one is large


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_a_head_that_does_not_choose_one_label_is_not_kept(problem, tmp_path):
    folder = random_run(tmp_path / "run")
    found = dataclasses.replace(read_pretrained(folder), problem_type=problem)
    params, told = keep_head(found, found.config, found.params, ("ham", "spam"))
    assert params is found.params
    assert told is not None and f"not kept: its problem_type is {problem}" in told


def test_a_language_model_has_no_head_to_tell_of(tmp_path_factory):
    assert prepare(run_config(tmp_path_factory)).head is None
