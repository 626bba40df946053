"""Other people's files: nothing unmatched passes in silence, and no advice misleads."""

from __future__ import annotations

import json

import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.errors import DataError

TEXTS = [f"a longer text of the row {i}" for i in range(12)]
LABELS = [("good", "bad")[i % 2] for i in range(12)]
ROWS = list(zip(TEXTS, LABELS, strict=True))
BY_LABEL = {label: [t for t, k in ROWS if k == label] for label in ("good", "bad")}


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: str | bytes | list | dict) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, (list, dict)):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def _load(source: str | tuple[str, ...], **how) -> Dataset:
    return load_dataset(DataConfig(source=source, **how))


def _rows(dataset: Dataset) -> list[tuple[str, str]]:
    names = [dataset.classes[label] for label in dataset.labels]
    return list(zip(dataset.texts, names, strict=True))


def _csv(rows=ROWS, header: str = "text,label") -> str:
    return "\n".join([header, *(",".join(row) for row in rows)]) + "\n"


def test_json_columns_are_columns_though_one_lacks_a_value(write):
    short = {"text": TEXTS, "label": LABELS[:-1]}
    told = r"the column 'label' has 11 values, but 'text' has 12; each row needs one"
    with pytest.raises(DataError, match=told):
        _load(write("a.json", short))
    named = {"Body": TEXTS, "kind": LABELS[:-1]}
    with pytest.raises(DataError, match="'kind' has 11 values, but 'Body' has 12"):
        _load(write("a.json", named), text_column="body", label_column="kind")


def test_json_texts_under_labels_are_that_though_equally_many(write):
    found = _rows(_load(write("a.json", BY_LABEL)))
    assert found == [(t, k) for k, texts in BY_LABEL.items() for t in texts]
    with pytest.raises(DataError, match="'Body' looks like the text and 'Intent' loo"):
        _load(write("a.json", {"Body": TEXTS, "Intent": LABELS}))
    with pytest.raises(DataError, match="no column 'Bdoy'; found text, label"):
        _load(write("a.json", BY_LABEL), text_column="Bdoy")


def test_json_strings_under_parts_have_no_labels(write):
    with pytest.raises(DataError, match="no column 'label'; found text"):
        _load(write("a.json", {"train": TEXTS, "test": TEXTS[:3]}))


def test_json_columns_of_pandas_go_by_the_keys_of_their_rows(write):
    keys = [str(i) for i in range(12)]
    table = {
        "text": dict(zip(keys, TEXTS, strict=True)),
        "label": dict(zip(keys[::-1], LABELS[::-1], strict=True)),
    }
    assert _rows(_load(write("a.json", table))) == ROWS
    del table["label"]["7"]
    with pytest.raises(DataError, match="row '7' stands in only one of the columns"):
        _load(write("a.json", table))


@pytest.mark.parametrize("turn", [1, -1])
def test_a_first_json_pair_that_names_the_columns_is_a_header(write, turn):
    pairs = [list(pair)[::turn] for pair in [("text", "label"), *ROWS]]
    assert _rows(_load(write("a.json", pairs))) == ROWS
    pairs[0] = ["body", "kind"][::turn]
    how = {"text_column": "body", "label_column": "kind"}
    assert _rows(_load(write("a.json", pairs), **how)) == ROWS
