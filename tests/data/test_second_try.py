"""What is advised can be pasted, and reads the file; common slips are read at once."""

from __future__ import annotations

import argparse
import dataclasses
import shlex

import pytest

from gpt2_jax.cli.flags import add_flags, with_flags
from gpt2_jax.config import DataConfig
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.errors import DataError

WORDS = [
    "bread",
    "soup",
    "room",
    "view",
    "phone",
    "bill",
    "table",
    "wine",
    "lamp",
    "tea",
]
TEXTS = [f"the {word} was as it should be" for word in WORDS * 2]
LABELS = [("good", "bad")[i % 2] for i in range(len(TEXTS))]


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "a.csv") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def _load(source: str, **how) -> Dataset:
    return load_dataset(DataConfig(source=source, **how))


def _labels(dataset: Dataset) -> list[str]:
    return [dataset.classes[label] for label in dataset.labels]


def _pasted(config: DataConfig, advice: str) -> DataConfig:
    """Return `config` with the flags of a message, as a shell splits them."""
    parser = argparse.ArgumentParser()
    add_flags(parser, DataConfig())
    return with_flags(config, parser.parse_args(shlex.split(advice)))


@pytest.mark.parametrize(
    ("common", "odd"),
    [
        ("very negative", "very negtive"),
        ("it's fine", "it's fien"),
        ("Negative", "Neative"),
        ("$HOME sweet", "$HOME swet"),
    ],
)
def test_the_advice_to_rename_a_label_can_be_pasted(write, common, odd):
    labels = [common] * 40 + ["positive"] * 40 + [odd] * 2
    rows = "".join(f'"text {i}","{label}"\n' for i, label in enumerate(labels))
    config = DataConfig(source=write(f"text,label\n{rows}"))
    (note,) = [n for n in load_dataset(config).notes if "--rename-label" in n]
    renamed = load_dataset(_pasted(config, note[note.index("--rename-label") :]))
    assert set(renamed.classes) == {common, "positive"}


def test_the_advice_to_write_labels_alike_can_be_pasted(write):
    labels = ["NEG x", "Neg X", "neg x", "-1", "-1.0", "+2"] * 3
    rows = "".join(f"text {i},{label}\n" for i, label in enumerate(labels))
    config = DataConfig(source=write(f"text,label\n{rows}"))
    renames: tuple[str, ...] = ()
    for note in load_dataset(config).notes:
        flags = note[note.index("--rename-label") : -1]
        renames += _pasted(DataConfig(), flags).rename_labels
    config = dataclasses.replace(config, rename_labels=renames)
    assert len(load_dataset(config).classes) == 3


def test_numbers_that_all_differ_are_cut_in_two_where_that_is_said(write):
    rows = "".join(f"{text},{i / 7}\n" for i, text in enumerate(TEXTS))
    path = write(f"text,label\n{rows}")
    with pytest.raises(DataError, match=r"looks like ids or numbers .*label-threshold"):
        _load(path)
    two = _load(path, label_threshold=1.0)
    assert _labels(two) == ["<1"] * 7 + [">=1"] * (len(TEXTS) - 7)


def test_a_column_of_parts_that_is_not_used_is_told(write):
    parts = ["train", "dev", "test", "train"] * 5
    zipped = zip(TEXTS, LABELS, parts, strict=True)
    path = write("text,label,set\n" + "".join(",".join(row) + "\n" for row in zipped))
    (note,) = _load(path).notes
    assert "the column 'set' holds the names of parts" in note
    config = _pasted(DataConfig(source=path), note[note.index("--split-column") :])
    assert load_dataset(config).notes == ()
    assert load_dataset(config).parts is not None


@pytest.mark.parametrize("name", ["a.tsv", "a.txt", "a.csv"])
def test_quotes_around_lines_make_rows_of_tabs_even(write, name):
    rows = zip(TEXTS, LABELS, strict=True)
    table = "text\tlabel\n" + "".join(f'"{t}\nmore"\t{k}\n' for t, k in rows)
    assert _load(write(table, name)).texts == tuple(f"{t}\nmore" for t in TEXTS)


def test_quotes_around_texts_between_tabs_stay_and_it_is_said_how_to_drop_them(write):
    rows = zip(TEXTS, LABELS, strict=True)
    path = write("text\tlabel\n" + "".join(f'"{t}"\t{k}\n' for t, k in rows), "a.tsv")
    dataset = _load(path)
    assert dataset.texts == tuple(f'"{text}"' for text in TEXTS)
    assert "20 texts stand in quotes" in dataset.notes[0]
    config = _pasted(DataConfig(source=path), "--quote '\"'")
    assert load_dataset(config).texts == tuple(TEXTS)


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_a_value_more_than_the_header_has_a_column_without_a_name(write, delimiter):
    """R writes row numbers before the first column, others a delimiter at the end."""
    rows = [f"{text}{delimiter}{k}" for text, k in zip(TEXTS, LABELS, strict=True)]
    head = f"text{delimiter}label"
    numbered = [f"{i}{delimiter}{row}" for i, row in enumerate(rows, start=1)]
    dataset = _load(write("\n".join([head, *numbered])))
    assert dataset.texts == tuple(TEXTS) and _labels(dataset) == LABELS
    assert dataset.notes[0].startswith("20 rows have text in columns without a name")
    ended = [f"{row}{delimiter}" for row in rows]
    dataset = _load(write("\n".join([head, *ended])))
    assert dataset.texts == tuple(TEXTS) and dataset.notes == ()
    odd = [f"same{delimiter}{row}" for row in rows]  # nothing says which is left out
    with pytest.raises(DataError, match="line 2: 3 fields, but the header has 2"):
        _load(write("\n".join([head, *odd])))


@pytest.mark.parametrize("test", [True, False])
def test_the_flags_for_texts_and_labels_in_two_files_can_be_pasted(tmp_path, test):
    folder = tmp_path / "a b"
    folder.mkdir()
    for part, rows in (("train", slice(14)), ("test", slice(14, None)))[: 1 + test]:
        for name, lines in (("text", TEXTS[rows]), ("labels", LABELS[rows])):
            (folder / f"{part}_{name}.txt").write_text("\n".join(lines) + "\n")
    (folder / "mapping.txt").write_text("0\tgood\n")
    with pytest.raises(DataError, match="texts and labels in two files; say") as caught:
        _load(str(folder))
    dataset = load_dataset(_pasted(DataConfig(), str(caught.value).split("say ")[1]))
    number = len(TEXTS) if test else 14
    assert (
        dataset.texts == tuple(TEXTS[:number]) and _labels(dataset) == LABELS[:number]
    )
    parts = ("train",) * 14 + ("test",) * (number - 14)
    assert dataset.parts == (parts if test else None)
