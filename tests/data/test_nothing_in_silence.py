"""Other people's files: nothing unmatched passes in silence, and no advice misleads."""

from __future__ import annotations

import gzip
import io
import json
import math
import zipfile
from pathlib import Path

import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.data.unused import UnusedError
from gpt2_jax.errors import DataError
from gpt2_jax.inference.windows import windows

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


def _packed(path: Path, files: dict[str, str]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return str(path)


def test_a_table_beside_named_parts_is_left_out_and_told(write, tmp_path):
    files = {"train.csv": _csv(), "test.csv": _csv(ROWS[:4]), "reviews.csv": _csv()}
    folder = [write(f"d/{name}", text) for name, text in files.items()]
    for source in (str(tmp_path / "d"), _packed(tmp_path / "d.zip", files)):
        dataset = _load(source)
        assert len(dataset.texts) == 16
        assert "left out, as named after no part of a split: reviews.csv" in (
            dataset.notes
        )
    told = r"reviews\.csv is named after no part of a split.*name it train-NAME"
    with pytest.raises(DataError, match=told):
        _load(tuple(folder))
    with pytest.raises(DataError, match=told):
        _load(str(tmp_path / "d" / "*.csv"))
    assert _load((folder[0], folder[2])).parts is None  # more of one kind


def test_the_same_texts_in_two_forms_are_not_read_twice(write, tmp_path):
    a, b = write("d/train.csv", _csv()), write("d/train.csv.gz", b"")
    told = "look like the same texts twice; leave one out"
    Path(b).write_bytes(gzip.compress(_csv().encode()))
    for source in (str(tmp_path / "d"), (a, b), (a, a), str(tmp_path / "d" / "*")):
        with pytest.raises(DataError, match=told):
            _load(source)
    lines = "".join(json.dumps({"text": t, "label": k}) + "\n" for t, k in ROWS)
    both = {"train.csv": _csv(), "train.jsonl": lines}
    with pytest.raises(DataError, match=r"as \.csv and \.jsonl; keep one"):
        _load(_packed(tmp_path / "d.zip", both))
    deep = {"raw/train.csv": _csv(), "clean/train.csv": _csv()}
    with pytest.raises(DataError, match=told):
        _load(_packed(tmp_path / "d.zip", deep))
    other = write("e/train.csv", _csv([("new words", "good")]))
    assert len(_load((a, other)).texts) == 13  # as the user says


def test_test_data_with_parts_of_its_own_are_refused(write, tmp_path):
    train = write("a.csv", _csv())
    for name in ("train.csv", "test.csv"):
        write(f"d/{name}", _csv(ROWS[:4]))
    with pytest.raises(DataError, match=r"d: has a split of its own; omit --test-data"):
        _load(train, test_data=str(tmp_path / "d"))
    (tmp_path / "d" / "train.csv").unlink()
    assert _load(train, test_data=str(tmp_path / "d")).parts == (
        ("train",) * 12 + ("test",) * 4
    )


def test_nan_is_no_text_and_no_label(write, tmp_path):
    rows = [{"text": t, "label": k} for t, k in ROWS]
    for column in ("text", "label"):
        odd = [*rows, {**rows[0], column: math.nan}]
        with pytest.raises(DataError, match=f"entry 13: '{column}' is NaN; expected"):
            _load(write("a.json", odd))
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": TEXTS, "label": [1.0, 2.0, math.nan] * 4})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="row 3: 'label' is NaN; expected a string"):
        _load(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("id,name\n0,good\n1,bad\n", "'id,name' has no number, .* if it is a header"),
        ("0 good\n1 bad\n1 worse\n", "number 1 stands twice, before 'bad' and 'worse'"),
        ("gut\nschl\xe4cht\n".encode("latin-1"), "not UTF-8; save it as UTF-8"),
        ("good\nbad\n".encode("utf-16"), "not UTF-8; save it as UTF-8"),
        ("good\nbad\n".encode("utf-16-le"), "not UTF-8; save it as UTF-8"),
    ],
)
def test_names_of_labels_that_would_be_shifted_are_refused(write, names, told):
    path = write("a.csv", _csv([(t, str("gb".index(k[0]))) for t, k in ROWS]))
    with pytest.raises(DataError, match=rf"names\.txt: .*{told}"):
        _load(path, label_names=write("names.txt", names), encoding="latin-1")


def test_a_label_is_renamed_once_and_a_column_has_one_role(write):
    path = write("a.csv", _csv())
    with pytest.raises(DataError, match="'good' is renamed to 'x' already; keep one"):
        _load(path, rename_labels=("good=x", "good=y"))
    with pytest.raises(DataError, match="'label' is named as label again; omit it"):
        _load(path, text_column="Label")
    with pytest.raises(DataError, match="'text' is named as text again; omit it"):
        _load(path, text_column=("text", "TEXT"))


def test_rows_without_a_group_are_not_one_group(write):
    rows = [(f"{t},{k}", "g" if i < 4 else " ") for i, (t, k) in enumerate(ROWS * 2)]
    path = write("a.csv", _csv(rows, "text,label,who"))
    dataset = _load(path, group_column="who")
    assert dataset.groups == ("g",) * 4 + tuple((TEXTS * 2)[4:])
    assert any(
        "20 rows have nothing in the group column 'who'" in n for n in dataset.notes
    )


def test_text_in_a_column_of_excel_without_a_name_is_counted(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [("text", None, "label"), *((t, None, k) for t, k in ROWS)]:
        book.active.append(row)
    book.active["B3"] = 5
    book.save(tmp_path / "a.xlsx")
    dataset = _load(str(tmp_path / "a.xlsx"))
    assert _rows(dataset) == ROWS
    assert any("1 rows have text in columns without a name" in n for n in dataset.notes)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t", "#"])
def test_the_line_of_excel_that_names_the_separator_is_no_row(write, delimiter, end):
    lines = [
        f"sep={delimiter}",
        *(delimiter.join(r) for r in [("text", "label"), *ROWS]),
    ]
    path = write("a.csv", end.join(lines) + end)
    dataset = _load(path)
    assert _rows(dataset) == ROWS and dataset.notes == ()
    with pytest.raises(DataError, match="line 15: 1 fields"):
        _load(write("a.csv", end.join([*lines, "odd"])))


def test_texts_of_classes_are_read_in_any_case_and_others_are_told(write, tmp_path):
    for i, (text, label) in enumerate(ROWS):
        write(f"d/{label}/{i}.{'TXT' if i % 3 else 'txt'}", text)
    for name in ("good/deep/1.txt", "bad/notes.doc", "empty/1.md"):
        write(f"d/{name}", "some words")
    dataset = _load(str(tmp_path / "d"))
    assert sorted(_rows(dataset)) == sorted(ROWS)
    (note,) = dataset.notes
    for name in ("good/deep/1.txt", "bad/notes.doc", "empty/1.md"):
        assert name in note


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt", "a.json"])
def test_an_empty_file_to_predict_is_not_asked_for_labels(write, name):
    path = Path(write(name, ""))
    with pytest.raises(DataError, match=r"no texts \(empty; expected texts\)"):
        list(windows([], path, Reading(), io.BytesIO()))
    with pytest.raises(DataError, match="expected a header and labelled texts"):
        _load(str(path))


_LINES = "".join(json.dumps({"text": t, "label": k}) + "\n" for t, k in ROWS)
_CELLS = {"delimiter": ";", "quote": "'", "header": True}
_COLUMNS = {"group_column": "a", "split_column": "b", "label_column": "c"}


@pytest.mark.parametrize(
    ("name", "content", "fields"),
    [
        ("a.jsonl", _LINES, _CELLS),
        ("a.json", [list(row) for row in ROWS], _CELLS),
        ("a.txt", "".join(f"__label__{k} {t}\n" for t, k in ROWS), _CELLS),
        ("texts.txt", "\n".join(TEXTS), {**_CELLS, **_COLUMNS}),
        ("d", "", {**_CELLS, **_COLUMNS}),
    ],
)
def test_what_a_form_has_no_use_for_is_refused(write, tmp_path, name, content, fields):
    how = {"text_column": "text", "label_column": "label"}  # as older configs say
    if name == "d":
        for i, (text, label) in enumerate(ROWS):
            write(f"d/{label}/{i}.txt", text)
    else:
        write(name, content)
    if name == "texts.txt":
        how["labels_file"] = write("labels.txt", "\n".join(LABELS))
    source = str(tmp_path / name)
    assert sorted(_rows(_load(source, **how))) == sorted(ROWS)
    for field, value in fields.items():
        flag = f"--{field.replace('_', '-')}"
        with pytest.raises(UnusedError, match=rf"{name}: a .*; omit {flag}$"):
            _load(source, **{**how, field: value})
    if name == "a.jsonl":  # another of the files has a use for it
        both = (source, write("b.csv", _csv([(" ".join(r), "x") for r in ROWS])))
        assert len(_load(both, delimiter=",").texts) == 24


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"book": True, "limit": 5}, "limit=5 has no use with book=True"),
        ({"book": True, "split_column": "p"}, "split_column='p' has no use with book"),
        ({"book": True, "drop_duplicates": True}, "drop_duplicates=True has no use"),
        ({"group": False, "group_column": "g"}, "group_column='g' has no use with gr"),
    ],
)
def test_settings_that_another_one_overrules_are_refused(config, told):
    with pytest.raises(ValueError, match=told):
        DataConfig(**config)


def test_rare_labels_of_a_given_split_are_told_and_not_only_trained_on(write):
    parts = [
        (f"{t},{k}", "test" if i > 9 else "train") for i, (t, k) in enumerate(ROWS)
    ]
    parts += [("odd,rare", part) for part in ("train", "test", "test")]
    path = write("a.csv", _csv(parts, "text,label,part"))
    assert (
        "rare labels in the training part: 'rare' (1); leave them out with --rare drop"
        in _load(path, split_column="part").notes
    )
    with pytest.raises(DataError, match="has a split of its own, and --rare train"):
        _load(path, split_column="part", rare="train")
    book = DataConfig(source=path, split_column=None, book=True)
    given = _load(path, split_column="part", rare="drop")
    with pytest.raises(DataError, match="has a split of its own; omit --preset book"):
        split_dataset(given, book)
