"""Texts whose labels are not asked for, through the same reader."""

from __future__ import annotations

import json
import zipfile

import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset, load_texts
from gpt2_jax.errors import DataError

TEXTS = tuple(f"a longer text of the row {i}" for i in range(12))
FORMS = {
    "no-labels.csv": "\n".join(["text", *TEXTS]),
    "several-labels.csv": "\n".join(["text;label", *(f"{t};a,b" for t in TEXTS)]),
    "one-class.tsv": "\n".join(["text\tlabel", *(f"{t}\tham" for t in TEXTS)]),
    "lines.txt": "\n".join(TEXTS),
    "no-labels.jsonl": "\n".join(json.dumps({"text": t}) for t in TEXTS),
    "fasttext.txt": "\n".join(f"__label__a __label__b {t}" for t in TEXTS),
}


@pytest.mark.parametrize("name", FORMS)
def test_any_form_gives_its_texts_with_labels_or_without(name, tmp_path):
    (tmp_path / name).write_text(FORMS[name], "utf-8")
    table, sha256 = load_texts(DataConfig(source=str(tmp_path / name)))
    assert table.texts == TEXTS and table.labels == ()
    assert len(sha256) == 64
    assert table.understood is not None
    assert not [line for line in table.understood.lines() if "label" in line.split()]


def test_archives_folders_and_several_files_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a.csv", FORMS["no-labels.csv"])
    assert load_texts(DataConfig(source=str(tmp_path / "a.zip")))[0].texts == TEXTS
    (tmp_path / "parts").mkdir()
    for part in ("train", "test"):
        (tmp_path / "parts" / f"{part}.csv").write_text(f"text\nof {part}")
    table, _ = load_texts(DataConfig(source=str(tmp_path / "parts")))
    assert dict(zip(table.texts, table.parts or (), strict=True)) == {
        "of train": "train",
        "of test": "test",
    }
    both = tuple(str(tmp_path / "parts" / f"{part}.csv") for part in ("train", "test"))
    assert len(load_texts(DataConfig(source=both))[0].texts) == 2


def test_what_has_labels_gives_the_texts_of_the_labelled_reading():
    table, sha256 = load_texts(DataConfig())
    dataset = load_dataset(DataConfig())
    assert (table.texts, sha256) == (dataset.texts, dataset.sha256)


def test_a_column_that_is_not_there_is_told_with_the_likely_one(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(FORMS["no-labels.csv"].replace("text\n", "body\n", 1))
    with pytest.raises(
        DataError, match=r"no column 'text'.*--text-column body"
    ) as told:
        load_texts(DataConfig(source=str(path)))
    assert "label" not in str(told.value)
