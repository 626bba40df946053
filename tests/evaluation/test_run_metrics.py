"""What a run tells of uneven classes: whose precision, of which texts, beside what."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from training_helpers import run_config

from gpt2_jax.cli.main import main
from gpt2_jax.config import DataConfig
from gpt2_jax.data import dataset
from gpt2_jax.data.balance import BALANCED
from gpt2_jax.evaluation import summary
from gpt2_jax.inference.evaluate import evaluate_run
from gpt2_jax.training import beside
from gpt2_jax.training.finetune import finetune
from gpt2_jax.weights.trained import load_model

_UNEVEN = {"hate": 15, "ok": 105}  # the rarer class is first in the alphabet


def _write(path: Path, counts: dict[str, int]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for label, count in counts.items():
            writer.writerows([f"{label} is text {i}", label] for i in range(count))
    return path


def _config(factory, path: Path, *, epochs: int = 1, **data):
    config = run_config(factory, epochs=epochs)
    return dataclasses.replace(config, data=DataConfig(source=str(path), **data))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uneven")
    path = _write(folder / "texts.csv", _UNEVEN)
    finetune(_config(tmp_path_factory, path), folder / "run")
    return folder / "run"


def test_all_rows_are_used_and_what_balance_would_do_is_said(run):
    results = json.loads((run / "results.json").read_text())
    data = results["data"]
    used = sum((Counter(counts) for counts in data["class_counts"].values()), Counter())
    assert used == _UNEVEN and data["dropped"] == 0
    assert data["balance"] == "none" and not data["balanced"]
    assert any("--balance undersample would use 30 of 120" in n for n in data["notes"])


def test_scores_are_of_the_rarer_class_which_is_named_everywhere(run, capsys):
    results = json.loads((run / "results.json").read_text())
    test = results["test"]
    assert test["positive"] == "hate"
    hits, answered, true = (
        test["confusion"][0][0],
        sum(row[0] for row in test["confusion"]),
        sum(test["confusion"][0]),
    )
    assert test["f1"] == pytest.approx(2 * hits / max(answered + true, 1))
    assert test["f1"] == test["per_class"]["hate"]["f1"]
    assert list(json.loads((run / "curves.json").read_text())["roc"]) == ["hate"]
    assert load_model(run).positive == "hate"
    for name in ("report.html", "MODEL_CARD.md"):
        assert "class hate" in (run / name).read_text()
    lines = evaluate_run(run, None).lines()
    assert any(line.startswith("class hate: precision") for line in lines)
    assert any(line.startswith("macro-F1 ") for line in lines)
    lines = evaluate_run(run, None, positive="ok").lines()
    assert any(line.startswith("class ok: precision") for line in lines)
    assert main(["threshold", str(run), "--target-recall", "0.5"]) == 0
    assert "threshold: hate" in capsys.readouterr().out


@pytest.mark.slow
def test_balanced_parts_are_told_in_results_report_and_card(tmp_path, tmp_path_factory):
    path = _write(tmp_path / "texts.csv", {"hate": 30, "ok": 90})
    config = _config(tmp_path_factory, path, balance="undersample", positive="ok")
    results = finetune(config, tmp_path / "run")
    assert results["data"]["balanced"] and BALANCED in results["data"]["notes"]
    assert results["data"]["dropped"] == 60
    assert results["test"]["positive"] == "ok"
    for name in ("report.html", "MODEL_CARD.md"):
        assert BALANCED[1:] in (tmp_path / "run" / name).read_text()


@pytest.mark.slow
def test_an_old_run_is_resumed_with_its_order_of_classes(
    tmp_path, tmp_path_factory, monkeypatch
):
    path = _write(tmp_path / "texts.csv", {"10": 30, "9": 30})
    with monkeypatch.context() as before:
        before.setattr(
            dataset, "order_classes", lambda names, _: tuple(sorted({*names}))
        )
        finetune(_config(tmp_path_factory, path), tmp_path / "run")
    assert load_model(tmp_path / "run").classes == ("10", "9")
    longer = _config(tmp_path_factory, path, epochs=2)
    results = finetune(longer, tmp_path / "run", resume=True)
    assert results["data"]["classes"] == ["10", "9"]
    assert load_model(tmp_path / "run").classes == ("10", "9")
    lines = evaluate_run(tmp_path / "run", None).lines()
    found = next(line for line in lines if line.startswith("accuracy "))
    assert f"{100 * results['accuracy']['test']:.2f}%" in found
    new = finetune(_config(tmp_path_factory, path), tmp_path / "new")
    assert new["data"]["classes"] == ["9", "10"]


@pytest.mark.slow
def test_repeated_texts_are_listed_in_the_run(tmp_path, tmp_path_factory):
    path = _write(tmp_path / "texts.csv", {"hate": 40, "ok": 40})
    with path.open("a") as file:
        file.write("both ways,hate\nboth ways,ok\n")
    results = finetune(_config(tmp_path_factory, path), tmp_path / "run")
    assert results["data"]["repeated_texts"] == 1
    with (tmp_path / "run" / "repeated_texts.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["text"] == "both ways" and row["labels"] == '["hate", "ok"]'


@pytest.mark.slow
def test_baselines_are_fitted_on_the_rows_that_are_trained_on(
    tmp_path, tmp_path_factory, monkeypatch
):
    pytest.importorskip("sklearn")
    seen, before = [], beside.fit_linear

    def spy(kind, texts, labels, num_classes):
        seen.append((kind, np.bincount(labels).tolist(), len(texts)))
        return before(kind, texts, labels, num_classes)

    monkeypatch.setattr(beside, "fit_linear", spy)
    path = _write(tmp_path / "texts.csv", {"hate": 30, "ok": 90})
    config = _config(tmp_path_factory, path, balance="undersample")
    results = finetune(config, tmp_path / "run")
    names = ["tfidf_logreg", "tfidf_words_logreg"]
    assert seen == [(kind, [21, 21], 42) for kind in ("chars", "words")]
    found = results["baselines"]
    assert all(0 <= found["macro_f1"][name] <= 1 for name in names)
    assert "verdict" in found
    seen.clear()
    none = dataclasses.replace(config, baselines="none")
    assert finetune(none, tmp_path / "none")["baselines"]["tfidf_logreg"] is None
    assert seen == []


def test_a_class_that_is_the_likeliest_label_of_none_is_told_what_to_do():
    def lines(confusion: list[list[int]], classes: list[str]) -> list[str]:
        return summary.never_named({"confusion": confusion}, classes)

    (line,) = lines([[0, 2], [0, 98]], ["hate", "none"])
    assert "'hate', 2.0% of the test texts," in line and "--best-f1" in line
    assert not lines([[1, 1], [0, 98]], ["hate", "none"])
    assert not lines([[0, 0], [0, 98]], ["hate", "none"])  # nor is any text of it
    assert not lines([[0, 1, 1], [0, 5, 0], [0, 0, 5]], ["a", "b", "c"])
