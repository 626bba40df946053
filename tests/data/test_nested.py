"""JSON in the shapes that other programs write."""

from __future__ import annotations

import io
import json

import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.errors import DataError
from gpt2_jax.inference.rows import stream_groups, usual_reading

ROWS = [
    ("the bread was warm", "good"),
    ("nobody answered twice", "bad"),
    ("a lovely view of it", "good"),
    ("my soup was cold", "bad"),
]
OBJECTS = [{"text": text, "label": label} for text, label in ROWS]
UNDER_IDS = {f"id-{i}": row for i, row in enumerate(OBJECTS)}
BY_ROW = {
    name: {str(i): row[name] for i, row in enumerate(OBJECTS)}
    for name in ("text", "label")
}


@pytest.fixture
def load(tmp_path):
    def load(value, name: str = "a.json", **how) -> Dataset:
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return load_dataset(DataConfig(source=str(path), **how))

    return load


def _rows(dataset: Dataset) -> list[tuple[str, str]]:
    names = [dataset.classes[label] for label in dataset.labels]
    return list(zip(dataset.texts, names, strict=True))


@pytest.mark.parametrize(
    "value",
    [
        {"data": OBJECTS},
        {"corpus": {"examples": OBJECTS}},
        {"data": {"train": OBJECTS[:2], "test": OBJECTS[2:]}},
        UNDER_IDS,
        {"data": UNDER_IDS},
        BY_ROW,
        {
            "columns": ["text", "label"],
            "index": [*range(4)],
            "data": [list(row) for row in ROWS],
        },
        {"schema": {"fields": []}, "data": OBJECTS},
    ],
)
def test_the_shapes_of_others_are_read(load, value):
    assert _rows(load(value)) == ROWS


def test_objects_under_ids_are_rows_whatever_their_columns_are_called(load):
    renamed = {k: {"body": v["text"], "kind": v["label"]} for k, v in UNDER_IDS.items()}
    with pytest.raises(DataError, match="--text-column body --label-column kind"):
        load(renamed)
    how = {"text_column": "body", "label_column": "kind"}
    assert _rows(load(renamed, **how)) == ROWS
    columns = {{"text": "body", "label": "kind"}[k]: v for k, v in BY_ROW.items()}
    assert _rows(load(columns, **how)) == ROWS


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.json"])
def test_a_pair_on_each_line(load, name):
    lines = "".join(json.dumps(list(row)) + "\n" for row in ROWS)
    assert _rows(load(lines, name)) == ROWS


def test_objects_in_objects_are_columns(load, tmp_path):
    nested = [{"a": {"b": t}, "label": {"name": k, "n": 1}} for t, k in ROWS]
    for value in (nested, "".join(json.dumps(row) + "\n" for row in nested)):
        with pytest.raises(DataError, match=r"--text-column a\.b --label-column label"):
            load(value)
        how = {"text_column": "a.b", "label_column": "label.name"}
        assert _rows(load(value, **how)) == ROWS
    with pytest.raises(DataError, match=r"entry 1: .*has twice: a\.b"):
        load([{"a": {"b": "x"}, "a.b": "y", "label": "z"}])
    how = usual_reading(tmp_path)
    line = json.dumps({"text": "some words", "id": {"n": 1}}).encode()
    (group,) = stream_groups(io.BytesIO(line), how)
    assert group[0].id == {"n": 1}  # as it came


def test_lists_are_no_texts_and_it_is_said(load):
    chats = [{"messages": [{"role": "user", "content": t}]} for t, _ in ROWS * 5]
    with pytest.raises(DataError, match="'messages' holds lists: write the text"):
        load(chats)


def test_rows_of_another_width_than_the_columns_are_refused(load):
    with pytest.raises(DataError, match="expected rows of 2 values under 'data'"):
        load({"columns": ["text", "label"], "data": [["a", "b"], ["c"]]})
