"""Own data in every form: packed, encoded, piped, Parquet, folders, given splits."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import lzma
import sys
from pathlib import Path

import numpy as np
import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data import content
from gpt2_jax.data.checks import near_duplicate_labels
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.data.tables import read_table
from gpt2_jax.errors import DataError, DeviceError

HF_DATASET = Path(__file__).parents[1] / "golden" / "hf_dataset"

ROWS = [
    ("NA", "ham"),
    ("Grüße 🎉, 'you'", "spam"),
    ("4e5", "ham"),
    ('say "hi"', "spam"),
]


def _as_csv(rows=ROWS) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("text", "label"), *rows])
    return out.getvalue()


def _as_jsonl(rows=ROWS) -> str:
    return "".join(json.dumps({"text": t, "label": k}) + "\n" for t, k in rows)


def _as_tsv(rows=ROWS) -> str:
    return "".join(f"{text}\t{label}\n" for text, label in [("text", "label"), *rows])


def _pairs(table) -> list[tuple[str, str]]:
    return list(zip(table.texts, table.labels, strict=True))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", _as_csv()), ("a.tsv", _as_tsv()), ("a.jsonl", _as_jsonl())],
)
@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)]
)
def test_a_packed_file_is_what_was_packed(tmp_path, name, text, suffix, pack):
    path = tmp_path / (name + suffix)
    path.write_bytes(pack(text.encode()))
    assert _pairs(read_table(path)) == ROWS


def test_packed_files_that_are_damaged_or_too_large_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.csv.gz"
    packed = gzip.compress(_as_csv(ROWS * 200).encode())
    for damaged in (packed[:-30], b"text,label\nhi,a\n", packed[:20] + b"x" * 40):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.csv\.gz: damaged or no gzip"):
            read_table(path)
    monkeypatch.setattr(content, "MAX_BYTES", 1000)
    path.write_bytes(packed)  # it unpacks to more
    with pytest.raises(DataError, match="unpacks to more than"):
        read_table(path)


@pytest.mark.fault(34)
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16", "utf-16-le"])
def test_other_encodings_are_read_when_named_and_refused_when_not(tmp_path, encoding):
    rows = [("Grüße", "häm"), ("naïve", "spam")]
    path = tmp_path / "a.csv"
    path.write_bytes(_as_csv(rows).encode(encoding))
    assert _pairs(read_table(path, encoding=encoding)) == rows
    with pytest.raises(DataError, match="--encoding"):
        read_table(path)
    with pytest.raises(ValueError, match="encoding='utf-9'"):
        DataConfig(encoding="utf-9")


_LABELS = "  2 labels: ham 2, spam 2"


def _stdin(monkeypatch, raw: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (_as_csv(), "CSV, delimiter comma"),
        ("\ufeff" + _as_csv(), "CSV, delimiter comma"),
        ("\n " + _as_jsonl(), "JSON lines"),
    ],
)
def test_standard_input_is_read_and_it_is_said_as_what(monkeypatch, text, kind):
    _stdin(monkeypatch, text.encode())
    dataset = load_dataset(DataConfig(source="-"))
    assert dataset.texts == tuple(text for text, _ in ROWS)
    assert dataset.understood is not None
    lines = dataset.understood.lines()
    assert lines[0].startswith(f"standard input: {kind}")
    assert lines[1:] == ["  text  'text': NA", "  label 'label': ham", _LABELS]
    _stdin(monkeypatch, _as_csv(ROWS[::-1]).encode())
    assert load_dataset(DataConfig(source="-")).sha256 != dataset.sha256


def test_errors_of_standard_input_name_it(monkeypatch):
    _stdin(monkeypatch, b"text,label\nhi,a,b\n")
    with pytest.raises(DataError, match="standard input, line 2: 3 fields"):
        load_dataset(DataConfig(source="-"))


def test_what_was_understood_names_columns_and_what_is_not_used(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,text,label,who\n1,hi,a,x\n")
    understood = read_table(path, group_column="who").understood
    assert understood is not None
    assert understood.lines() == [
        f'{path}: CSV, delimiter comma, quote ", first row is the header, utf-8',
        "  text  'text': hi",
        "  label 'label': a",
        "  group 'who': x",
        "  not used: 'id'",
        "  1 label: a 1",
    ]


@pytest.mark.fault(33)
def test_a_wrong_column_is_told_with_the_nearest_that_is_there(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("texts,label\nhi,a\n")
    with pytest.raises(DataError, match="found texts, label; did you mean 'texts'"):
        read_table(path)


def _write_parquet(path: Path, columns: dict) -> Path:
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pytest.importorskip("pyarrow").table(columns), path)
    return path


def test_parquet_is_read_to_the_character(tmp_path):
    texts, labels = zip(*ROWS, strict=True)
    columns = {"text": list(texts), "label": list(labels), "n": [1, 2, 3, 4]}
    table = read_table(_write_parquet(tmp_path / "a.parquet", columns))
    assert _pairs(table) == ROWS
    assert table.understood is not None
    lines = table.understood.lines()
    assert lines[0].endswith("a.parquet: Parquet") and "  not used: 'n'" in lines


def test_numbers_in_parquet_are_labels_and_null_is_no_text(tmp_path):
    columns = {"text": ["a", "b"], "label": [1, 0]}
    assert read_table(_write_parquet(tmp_path / "a.parquet", columns)).labels == (
        "1",
        "0",
    )
    columns = {"text": ["a", None], "label": [1, 0]}
    with pytest.raises(DataError, match="row 2: 'text' is null"):
        read_table(_write_parquet(tmp_path / "b.parquet", columns))
    with pytest.raises(DataError, match="no column 'body'; found text, label"):
        read_table(tmp_path / "a.parquet", text_column="body")
    (tmp_path / "c.parquet").write_text("text,label\n")
    with pytest.raises(DataError, match=r"c\.parquet: cannot be read"):
        read_table(tmp_path / "c.parquet")


@pytest.mark.fault(33)
def test_a_column_that_stands_twice_is_refused_in_parquet_too(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    arrays = [pyarrow.array([value]) for value in ("hi", "yo", "a")]
    table = pyarrow.Table.from_arrays(arrays, names=["text", "text", "label"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column 'text' stands twice"):
        read_table(tmp_path / "a.parquet")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DeviceError, match=r"gpt2-jax\[data\]"):
        read_table(tmp_path / "a.parquet")


def test_what_datasets_saved_is_read_with_its_class_names_and_parts():
    pytest.importorskip("pyarrow")
    dataset = load_dataset(DataConfig(source=str(HF_DATASET), text_column="sms"))
    assert dataset.texts[:4] == ("see you at six", "win a prize", "", "free 🎉")
    assert dataset.classes == ("ham", "spam")
    assert dataset.labels == (0, 1, 0, 1, 0, 1)
    assert dataset.parts == ("train",) * 4 + ("test",) * 2
    # one part of it alone is a dataset without a split
    alone = load_dataset(
        DataConfig(source=str(HF_DATASET / "train"), text_column="sms")
    )
    assert alone.texts == dataset.texts[:4] and alone.parts is None


def _write_folder(folder: Path, **files: list) -> str:
    (folder / "data").mkdir(parents=True)
    for name, rows in files.items():
        path = folder / name.replace("__", "/").replace("_csv", ".csv")
        path.write_text(_as_csv(rows))
    return str(folder)


TRAIN = [(f"text {i}", "ab"[i % 2]) for i in range(40)]
TEST = [("other 1", "a"), ("other 2", "b"), ("text 3", "b"), ("other 4", "a")]


def test_a_folder_of_files_is_the_split_that_they_are_named_after(tmp_path):
    source = _write_folder(
        tmp_path / "d", train_csv=TRAIN, data__dev_csv=TEST[:2], test_csv=TEST
    )
    (tmp_path / "d" / "README.md").write_text("not data")
    config = DataConfig(source=source)
    dataset = load_dataset(config)
    split = split_dataset(dataset, config)
    parts = {
        name: [dataset.texts[r] for r in rows] for name, rows in split.parts().items()
    }
    assert parts["train"] == [text for text, _ in TRAIN]
    assert parts["validation"] == [text for text, _ in TEST[:2]]
    assert parts["test"] == [text for text, _ in TEST]
    assert "1 of 4 test texts stand in the train part too" in split.notes
    assert "2 of 4 test texts stand in the validation part too" in split.notes


@pytest.mark.fault(40)
def test_dropped_duplicates_leave_what_is_measured_whole(tmp_path):
    new = [("new 1", "a"), ("new 2", "b")]
    source = _write_folder(
        tmp_path / "d", train_csv=TRAIN, validation_csv=new, test_csv=TEST
    )
    config = DataConfig(source=source, drop_duplicates=True, balance="none")
    dataset = load_dataset(config)
    split = split_dataset(dataset, config)
    assert [dataset.texts[row] for row in split.test] == [text for text, _ in TEST]
    assert "text 3" not in {dataset.texts[row] for row in split.train}
    assert split.dropped == 1
    assert not any("stand in" in note for note in split.notes)


def test_a_part_that_is_not_given_is_cut_from_the_training_part(tmp_path):
    source = _write_folder(tmp_path / "d", train_csv=TRAIN, test_csv=TEST)
    config = DataConfig(source=source)
    dataset = load_dataset(config)
    split = split_dataset(dataset, config)
    assert len(split.validation) == 6  # of 40, 0.1 to 0.7, and 3 of each class
    assert len(split.train) == 34
    assert [dataset.texts[row] for row in split.test] == [text for text, _ in TEST]
    assert "no validation part is given: cut from the training part" in split.notes


def test_only_the_training_part_of_a_given_split_is_balanced():
    labels = (0, 0, 0, 1) * 12
    parts = ("train",) * 32 + ("validation",) * 8 + ("test",) * 8
    texts = tuple(f"t{i}" for i in range(48))
    data = Dataset("d", "", texts, labels, ("a", "b"), None, (), parts)
    split = split_dataset(data, DataConfig(balance="undersample"))
    assert np.bincount(np.asarray(labels)[split.train]).tolist() == [8, 8]
    assert len(split.validation) == len(split.test) == 8
    assert split.dropped == 16
    none = dataclasses.replace(data, parts=("test",) * 48)
    with pytest.raises(DataError, match=r"no training texts; .* has only test"):
        split_dataset(none, DataConfig())


def test_a_split_column_gives_the_parts_by_any_of_their_names(tmp_path):
    names = ("train", "Training", "dev", "val", "TEST")
    rows = [f"t{i},{'ab'[i // 5 % 2]},{names[i % 5]}" for i in range(30)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,label,part", *rows]))
    config = DataConfig(source=str(path), split_column="part", balance="none")
    split = split_dataset(load_dataset(config), config)
    assert split.train.tolist() == [i for i in range(30) if i % 5 < 2]
    assert split.validation.tolist() == [i for i in range(30) if i % 5 in (2, 3)]
    path.write_text("\n".join(["text,label,part", *rows, "x,a,holdout"]))
    with pytest.raises(DataError, match="the split of a text is 'holdout'"):
        load_dataset(config)


def test_a_group_column_keeps_its_rows_together(tmp_path):
    rows = [f"t{i},{'ab'[i % 2]},g{i // 4}" for i in range(120)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,label,who", *rows]))
    config = DataConfig(source=str(path), group_column="who")
    dataset = load_dataset(config)
    parts = split_dataset(dataset, config).parts().values()
    sides = [{row // 4 for row in part.tolist()} for part in parts]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 30


def test_folders_that_are_no_dataset_are_refused(tmp_path):
    with pytest.raises(DataError, match="no dataset; expected train"):
        load_dataset(DataConfig(source=str(tmp_path)))
    source = _write_folder(tmp_path / "d", train_csv=TRAIN)
    (tmp_path / "d" / "train.jsonl").write_text(_as_jsonl(TRAIN))
    with pytest.raises(DataError, match=r"as \.csv and \.jsonl; keep one"):
        load_dataset(DataConfig(source=source))


@pytest.mark.fault(37)
@pytest.mark.parametrize(
    ("classes", "alike"),
    [
        (["Spam", "ham", "spam"], [["Spam", "spam"]]),
        (["1", "1.0", "True", "2"], [["1", "1.0", "True"]]),
        (["not spam", "not_spam", "spam"], [["not spam", "not_spam"]]),
        (["0", "False", "a", "a "], [["0", "False"], ["a", "a "]]),
        (["ham", "spam", "10", "1"], []),
    ],
)
def test_labels_that_may_be_meant_as_one_are_told(classes, alike):
    notes = near_duplicate_labels(classes)
    assert len(notes) == len(alike)
    for note, names in zip(notes, alike, strict=True):
        assert ", ".join(map(repr, names)) in note


@pytest.mark.fault(37)
def test_a_misspelt_label_is_told_where_it_stops_the_run(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n1,ham\n2,spam\n3,Spam\n4,ham\n5,spam\n")
    with pytest.raises(DataError, match=r"'Spam' is seen once .*'Spam', 'spam'"):
        load_dataset(DataConfig(source=str(path)))
    path.write_text("text,label\n1,ham\n2,spam\n3,Spam\n3,ham\n5,spam\n6,Spam\n")
    notes = load_dataset(DataConfig(source=str(path))).notes
    assert "the labels 'Spam', 'spam' are 2 classes" in notes[0]
    assert notes[1] == "1 texts stand with more than one label"


@pytest.mark.fault(38)
def test_a_long_field_is_one_field(tmp_path):
    path = tmp_path / "a.csv"
    text = "so long " * 100_000  # the csv module stops at 131,072 characters
    path.write_text(_as_csv([(text, "a"), ("b", "b")]))
    assert read_table(path).texts == (text, "b")
