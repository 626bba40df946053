"""Rows in memory are read as the same rows in a file."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_helpers import error_line, losses, run_config, write_texts

from gpt2_jax.config import DataConfig
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.errors import DataError, UserError
from gpt2_jax.training.finetune import finetune

_TEXTS = ["free prize", "lunch at noon?", "NA", "", "win 🎉", "lunch at noon?"]
_LABELS = ["spam", "ham", "ham", "ham", "spam", "ham"]
_PARTS = ["train", "train", "dev", "train", "train", "test"]
_TABLE = {"text": _TEXTS, "label": _LABELS}


def _load(rows: Any, **data: Any) -> Dataset:
    return load_dataset(DataConfig(source="memory", **data), rows=rows)


def _file(path: Path, table: dict[str, list[Any]], **data: Any) -> Dataset:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([list(table), *zip(*table.values(), strict=True)])
    return load_dataset(DataConfig(source=str(path), **data))


def _content(dataset: Dataset) -> dict[str, Any]:
    fields = ("texts", "labels", "classes", "groups", "notes", "parts")
    return {name: getattr(dataset, name) for name in fields}


def _series(library: str, values: list[str]) -> Any:
    module = pytest.importorskip(library)
    if library == "pyarrow":
        return module.chunked_array([values[:2], values[2:]])
    return module.Series(values)


def _frame(library: str, table: dict[str, list[Any]]) -> Any:
    if library == "dict":
        return table
    module = pytest.importorskip(library)
    if library == "datasets":
        return module.Dataset.from_dict(table)
    return module.table(table) if library == "pyarrow" else module.DataFrame(table)


_LIBRARIES = ["pandas", "polars", "pyarrow"]


@pytest.mark.parametrize("library", ["list", "tuple", "map", "numpy", *_LIBRARIES])
def test_texts_and_labels_of_any_library_are_those_of_a_file(library, tmp_path):
    ways = {
        "list": list,
        "tuple": tuple,
        "map": lambda values: map(str, values),
        "numpy": np.asarray,
    }
    way = ways.get(library) or (lambda values: _series(library, values))
    found = _load((way(_TEXTS), way(_LABELS)))
    assert _content(found) == _content(_file(tmp_path / "a.csv", _TABLE))
    assert found.name == "memory" and len(found.sha256) == 64
    assert found.sha256 == _load(_TABLE).sha256


@pytest.mark.parametrize("library", ["dict", "datasets", *_LIBRARIES])
def test_a_table_names_its_columns_as_a_file_does(library, tmp_path):
    table = {"body": _TEXTS, "kind": _LABELS, "part": _PARTS, "who": list("abcdee")}
    how = {"text_column": "body", "label_column": "kind"}
    for more in (
        {},
        {"split_column": "part"},
        {"group_column": "who", "text_column": ("body", "who")},
    ):
        found = _load(_frame(library, table), **{**how, **more})
        expected = _file(tmp_path / "a.csv", table, **{**how, **more})
        assert _content(found) == _content(expected)
    with pytest.raises(DataError, match=r"'body' looks like the text.*--text-column"):
        _load(_frame(library, table))


@pytest.mark.parametrize("library", ["pair", "dict", "datasets", *_LIBRARIES])
def test_parts_that_are_given_stay_as_they_are(library):
    def made(rows: slice) -> Any:
        if library == "pair":
            return _TEXTS[rows], _LABELS[rows]
        return _frame(library, {k: v[rows] for k, v in _TABLE.items()})

    names = {"train": slice(0, 3), "validation": slice(3, 5), "test": slice(5, 6)}
    found = _load({name: made(rows) for name, rows in names.items()})
    assert found.texts == tuple(_TEXTS)
    assert found.parts == (*["train"] * 3, *["validation"] * 2, "test")
    more = _load(
        {"train": made(slice(0, 6)), "dev": made(slice(3, 5)), "x": made(slice(6))}
    )
    assert set(more.parts or ()) == {"train", "validation"}
    assert "left out, as named after no part of a split: x" in more.notes


def test_a_split_dataset_of_hugging_face_has_its_classes_by_name():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["ham", "spam"])
    )
    table = {"text": _TEXTS, "label": [int(label == "spam") for label in _LABELS]}
    part = datasets.Dataset.from_dict(table, features=features)
    found = _load(datasets.DatasetDict(train=part, test=part.select([5, 0])))
    assert found.classes == ("ham", "spam")
    assert found.texts[-2:] == (_TEXTS[5], _TEXTS[0])
    lost = datasets.Dataset.from_dict({**table, "label": [-1] * 6}, features=features)
    with pytest.raises(DataError, match="'label' is -1, which is none of the 2"):
        _load(lost)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.asarray([2, 10, 2, 10, 2, 10]), ("2", "10")),
        (np.asarray([True, False] * 3), ("false", "true")),
        (np.asarray([0.0, 1.0] * 3, np.float32), ("0.0", "1.0")),
        ([np.int64(1), np.int64(0)] * 3, ("0", "1")),
    ],
)
def test_labels_that_are_numbers_are_those_of_a_file(labels, classes):
    assert _load((_TEXTS, labels)).classes == classes


@pytest.mark.parametrize(
    ("rows", "data", "message"),
    [
        ((_TEXTS, _LABELS[:5]), {}, "not equally many values: 6 of 'text', 5 of"),
        ((_TEXTS, ["ham"] * 6), {}, "only one class, 'ham'"),
        (([], []), {}, "memory: no texts"),
        (("free prize", _LABELS), {}, "'text' is str; expected its values"),
        ((_TEXTS, None), {}, "'label' is NoneType; expected its values"),
        ((_TEXTS, ["ham", "", "a", "a", "ham", "a"]), {}, "row 2: the label is empty"),
        (([None, *_TEXTS[1:]], _LABELS), {}, "memory, row 1: 'text' is null"),
        (([float("nan"), *_TEXTS[1:]], _LABELS), {}, "memory, row 1: 'text' is NaN"),
        ((_TEXTS, [["a", "b"]] * 6), {}, "multi-label data"),
        ((_TEXTS, _LABELS), {"text_column": "body"}, "no columns; omit --text-column"),
        (_TABLE, {"delimiter": ";"}, "a table, and no file; omit --delimiter"),
        (_TABLE, {"test_data": "b.csv"}, "omit --test-data"),
        (_TEXTS, {}, r"expected \(texts, labels\), or a table .* got list"),
        ({}, {}, "no texts"),
        ({"a": _TABLE, "b": _TABLE}, {}, "a, b name no part of a split"),
        ({"val": _TABLE, "dev": _TABLE}, {}, "two names of one part"),
        ({"train": _TABLE}, {"split_column": "text"}, "its files are a split"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(rows, data, message):
    with pytest.raises(DataError, match=message) as raised:
        _load(rows, **data)
    assert "\n" not in str(raised.value)


def test_what_pandas_has_for_no_value_is_no_text():
    pandas = pytest.importorskip("pandas")
    texts = pandas.Series([pandas.NA, *_TEXTS[1:]], dtype="string")
    with pytest.raises(DataError, match="row 1: 'text' is null"):
        _load((texts, _LABELS))


@pytest.mark.slow
def test_a_run_on_rows_in_memory_is_that_on_a_file(tmp_path, tmp_path_factory, capsys):
    config = run_config(tmp_path_factory, epochs=1)
    path = write_texts(tmp_path / "texts.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = {name: [row[name] for row in rows] for name in ("text", "label")}
    data = dataclasses.replace(config.data, source=str(path))
    finetune(dataclasses.replace(config, data=data), tmp_path / "file")
    config = dataclasses.replace(config, data=DataConfig())
    given = (np.asarray(table["text"]), iter(table["label"]))
    results = finetune(config, tmp_path / "run", dataset=given)
    assert results.data["name"] == "memory"
    assert losses(tmp_path / "run") == losses(tmp_path / "file")
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["data"]["source"] == "memory"
    told = json.loads((tmp_path / "run" / "run.json").read_text())["is"]
    assert told["data.sha256"] == results.data["sha256"]
    again = finetune(config, tmp_path / "run", dataset=table, resume=True)
    assert again.accuracy == results.accuracy
    others = {**table, "text": [*table["text"][:-1], "another"]}
    with pytest.raises(UserError, match=r"other data \(data\.sha256"):
        finetune(config, tmp_path / "run", dataset=others, resume=True)
    argv = ["finetune", "--config", str(tmp_path / "run" / "config.json")]
    assert "rows were given from Python" in error_line(capsys, argv, 4)
    error = error_line(capsys, ["evaluate", str(tmp_path / "run")], 4)
    assert "was trained on rows in memory" in error and "--data" in error
    with pytest.raises(UserError, match=r"given beside the source .*texts\.csv"):
        finetune(dataclasses.replace(config, data=data), dataset=table)
