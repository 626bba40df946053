"""Metrics of a trained run on its own test part and on other data."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
from helpers import random_params
from training_helpers import ON_DISK, finished_run, texts, write_texts

from gpt2_jax.config import DataConfig
from gpt2_jax.errors import DataError, WeightsError
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.inference.evaluate import evaluate_run
from gpt2_jax.weights.trained import TrainedModel, save_model


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return finished_run(tmp_path_factory)


def _accuracy(lines: list[str]) -> tuple[float, int]:
    match = re.search(r"accuracy ([\d.]+)% .* n=(\d+)\)", "\n".join(lines))
    assert match is not None
    return float(match[1]), int(match[2])


def test_without_data_it_is_the_test_part_of_the_run(run):
    results = json.loads((run / "results.json").read_text())
    percent, n = _accuracy(evaluate_run(run, None).lines())
    assert n == results["test"]["n"]
    assert percent == pytest.approx(100 * results["accuracy"]["test"], abs=0.005)


@pytest.mark.fault(8, 18)
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("config.json", '"split_seed": 123', '"split_seed": 122'),
        ("run.json", '"data.sha256": "', '"data.sha256": "0'),
        ("texts.csv", "lunch", "launch"),
    ],
)
def test_what_is_no_more_the_test_part_of_the_run_is_not_called_that(
    run, tmp_path, name, old, new
):
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    shutil.copy(config["data"]["source"], tmp_path / "texts.csv")
    config["data"]["source"] = str(tmp_path / "texts.csv")
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert (
        evaluate_run(tmp_path / "run", None).lines()[2:]
        == evaluate_run(run, None).lines()[2:]
    )
    path = tmp_path / ("" if name == "texts.csv" else "run") / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match="its test part is another now"):
        evaluate_run(tmp_path / "run", None).lines()


def test_with_data_it_is_every_text_of_it(run, tmp_path_factory):
    source = texts(tmp_path_factory)
    lines = evaluate_run(run, DataConfig(source=str(source))).lines()
    percent, n = _accuracy(lines)
    assert lines[1].startswith(f"data: {source}: CSV, delimiter comma")
    assert "data:   label 'label': " in lines[3]
    rows = [line.rpartition(",") for line in source.read_text().splitlines()[1:]]
    predicted = Classifier.load(run).predict([text for text, _, _ in rows])
    hits = sum(p == label for p, (_, _, label) in zip(predicted, rows, strict=True))
    assert n == 60
    assert percent == pytest.approx(100 * hits / 60, abs=0.005)


def test_labels_are_matched_by_name_and_not_by_number(tmp_path):
    config = dataclasses.replace(ON_DISK, num_classes=3)
    classes = ("eggs", "ham", "spam")
    save_model(
        tmp_path / "model", TrainedModel(config, random_params(config), classes, 9)
    )
    # 8 of 11 are spam: here label 1 of 2, in the run label 2 of 3.
    rows = [f"text {i},{'spam' if i > 2 else 'ham'}" for i in range(11)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
    lines = evaluate_run(
        tmp_path, DataConfig(source=str(tmp_path / "texts.csv"))
    ).lines()
    counts = {line.split()[0]: sum(map(int, line.split()[1:])) for line in lines[-3:]}
    assert counts == {"eggs": 0, "ham": 3, "spam": 8}


def test_a_label_that_the_run_never_saw_is_refused(run, tmp_path):
    path = write_texts(tmp_path / "other.csv", classes=("ham", "eggs"))
    with pytest.raises(DataError, match="labels eggs are not among the run's ham"):
        evaluate_run(run, DataConfig(source=str(path))).lines()


def test_one_spam_among_many_can_be_evaluated(run, tmp_path):
    # Nothing is trained or split here, so no class needs two texts.
    path = tmp_path / "one.csv"
    path.write_text("text,label\nfree prize,spam\nlunch,ham\nhome,ham\n")
    assert _accuracy(evaluate_run(run, DataConfig(source=str(path))).lines())[1] == 3


def test_what_another_form_has_no_use_for_is_not_taken_from_the_run(run, tmp_path):
    """The rest is: the text column, and new names of labels."""
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    how = {"delimiter": ";", "text_column": "body", "rename_labels": ["ok=ham"]}
    config["data"] |= how
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    path = tmp_path / "a.jsonl"
    rows = [{"body": "free prize", "label": "spam"}, {"body": "lunch", "label": "ok"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    lines = evaluate_run(tmp_path / "run", DataConfig(source=str(path))).lines()
    assert _accuracy(lines)[1] == 2
    said = DataConfig(source=str(path), quote="'")
    with pytest.raises(DataError, match=r"a\.jsonl: a file of jsonl; omit --quote$"):
        evaluate_run(tmp_path / "run", said).lines()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="no weights and no run"):
        evaluate_run(tmp_path, None).lines()


def test_a_run_with_a_broken_config_is_refused_by_its_file(run, tmp_path):
    shutil.copytree(run / "model", tmp_path / "model")
    (tmp_path / "config.json").write_text('{"colour": "red"}')
    with pytest.raises(WeightsError, match=r"config\.json.*colour"):
        evaluate_run(tmp_path, None).lines()


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        ({"text_column": "v2", "label_column": "v1"}, ["v1,v2", "{1},{0}"]),
        (
            {"text_column": "2", "label_column": "1", "header": False},
            ["{1},{0}"],
        ),
        ({"text_column": ["b", "a"], "join": " - "}, ["a,b,label", "x,{0},{1}"]),
        ({"delimiter": "|"}, ["text|label", "{0}, and|{1}"]),
        ({"rename_labels": ["Hma=ham"]}, ["text,label", "{0},{1}"]),
    ],
)
def test_other_data_are_read_as_the_run_read_its_own(run, how, rows, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["data"].update(how)
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    path = tmp_path / "a.csv"
    texts = [(f"text {i}", ("ham", "spam")[i % 2]) for i in range(12)]
    body = [rows[-1].format(*pair) for pair in texts]
    path.write_text("\n".join([*rows[:-1], *body]))
    data = DataConfig(source=str(path))
    assert _accuracy(evaluate_run(tmp_path / "run", data).lines())[1] == 12
    path.write_text("\n".join(["text,label", *("{},{}".format(*t) for t in texts)]))
    data = DataConfig(source=str(path))  # and so is a file of the usual form
    if "header" not in how:
        assert _accuracy(evaluate_run(tmp_path / "run", data).lines())[1] == 12


@pytest.mark.parametrize("columns", [("review", "stars"), ("text", "label")])
def test_labels_mean_what_the_run_was_told_whatever_the_columns(run, columns, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["data"].update(
        text_column="review",
        label_column="stars",
        label_threshold=3,
        rename_labels=["<3=ham", ">=3=spam"],
    )
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    path = tmp_path / "a.csv"
    rows = [f"text {i},{1 + i % 5}" for i in range(20)]
    path.write_text("\n".join([",".join(columns), *rows]))
    data = DataConfig(source=str(path))
    assert _accuracy(evaluate_run(tmp_path / "run", data).lines())[1] == 20


def test_what_is_said_of_other_data_goes_before_what_the_run_says(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["data"].update(text_column="v2", encoding="mac_roman")
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    path = tmp_path / "a.csv"
    path.write_text("v2,v3,label\nlunch,caf\u00e9,ham\nprize,x,spam\n", "utf-8")
    data = DataConfig(source=str(path), text_column="v3")
    assert _accuracy(evaluate_run(tmp_path / "run", data).lines())[1] == 2
    data = DataConfig(source=str(path), text_column="v4")
    with pytest.raises(DataError, match="no column 'v4'"):
        evaluate_run(tmp_path / "run", data).lines()
