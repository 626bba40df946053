"""The forms in which people keep labelled texts, each read at the first or second try.

The rows are made up; the forms are those of public data sets.
"""

from __future__ import annotations

import bz2
import io
import json
import zipfile
from pathlib import Path

import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data import content
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.tables import read_stream, read_table
from gpt2_jax.errors import DataError
from gpt2_jax.inference.windows import windows

TEXTS = [
    "the bread was warm; we ate it all",
    "nobody answered the phone, twice",
    "a lovely room with a view",
    "my soup was cold again today",
    "would come back at any time",
    "the bill was wrong, of course",
]
LABELS = ["good", "bad", "good", "bad", "good", "bad"]
ROWS = list(zip(TEXTS, LABELS, strict=True))


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str | bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def _load(source: str | tuple[str, ...], **how) -> Dataset:
    return load_dataset(DataConfig(source=source, **how))


def _rows(dataset: Dataset) -> list[tuple[str, str]]:
    names = [dataset.classes[label] for label in dataset.labels]
    return list(zip(dataset.texts, names, strict=True))


def _lines(delimiter: str, *, header: str = "", quote: str = "") -> str:
    start = header + "\n" if header else ""
    return start + "".join(
        f"{quote}{text}{quote}{delimiter}{label}\n" for text, label in ROWS
    )


@pytest.mark.parametrize("name", ["a.txt", "a.data", "a.label", "a", "a.csv", "A.CSV"])
@pytest.mark.parametrize(
    ("delimiter", "quote"), [("\t", ""), ("|", ""), (";", "'"), (",", '"'), (";", '"')]
)
def test_delimiter_and_quote_are_found(write, name, delimiter, quote):
    header = f"text{delimiter}label"
    path = write(name, _lines(delimiter, header=header, quote=quote))
    dataset = _load(path)
    assert _rows(dataset) == ROWS
    assert dataset.understood is not None
    assert dataset.understood.form.delimiter == delimiter
    headerless = write(name, _lines(delimiter, quote=quote))
    how = {"header": False, "text_column": "1", "label_column": "2"}
    assert _rows(_load(headerless, **how)) == ROWS


def test_delimiter_and_quote_can_be_said(write):
    path = write("a.txt", "text~label\n" + "".join(f"*{t}*~{k}\n" for t, k in ROWS))
    assert _rows(_load(path, delimiter="~", quote="*")) == ROWS
    with pytest.raises(ValueError, match="delimiter='ab' must be one character"):
        DataConfig(delimiter="ab")
    with pytest.raises(ValueError, match="quote='ab' must be one character"):
        DataConfig(quote="ab")


def test_a_quote_is_only_one_where_it_makes_rows_even(write):
    rows = [("'tis a long road, said he", "a"), ("'twas 'nice'", "b")] * 3
    path = write("a.tsv", "text\tlabel\n" + "".join(f"{t}\t{k}\n" for t, k in rows))
    assert _rows(_load(path)) == rows


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_a_file_without_a_header_loses_no_row_in_silence(write, delimiter):
    """Silent fault 4: the advice was to name the cells of the first row as columns."""
    quote = '"' if delimiter == "," else ""
    path = write("a.csv", _lines(delimiter, quote=quote))
    with pytest.raises(DataError) as caught:
        _load(path)
    advice = "--no-header --text-column 1 --label-column 2"
    assert advice in str(caught.value)
    with pytest.raises(DataError, match="--no-header"):
        _load(path, text_column=TEXTS[0], label_column=LABELS[0])
    how = {"header": False, "text_column": "1", "label_column": "2"}
    assert _rows(_load(path, **how)) == ROWS
    short = write("b.csv", "tiny,good\nlittle,bad\nlarge,good\nhuge,bad\nbig,good\n")
    with pytest.raises(DataError, match="'good' is a label of other rows too"):
        _load(short, text_column="tiny", label_column="good")
    kept = _load(short, text_column="tiny", label_column="good", header=True)
    assert kept.texts == ("little", "large", "huge", "big")  # it was said


def test_a_repeated_cell_in_a_first_row_of_data_is_no_column_twice(write):
    rows = "".join(f"{text}\t{label}\t{label}\n" for text, label in ROWS)
    with pytest.raises(DataError, match="--no-header --text-column 1 --label-column 2"):
        _load(write("a.txt", rows))


def test_columns_without_a_name_do_not_matter_and_their_text_is_counted(write):
    rows = [f'"{text}",{label},,' for text, label in ROWS]
    rows[2] = rows[2][:-2] + ",more,"
    dataset = _load(write("a.csv", "\n".join(["text,label,,", *rows])))
    assert _rows(dataset) == ROWS
    assert any("1 rows have text in columns without a name" in n for n in dataset.notes)


def test_json_arrays_pairs_and_columns_are_read(write):
    objects = [{"text": t, "label": k} for t, k in ROWS]
    columns = {"text": TEXTS, "label": LABELS}
    by_row = {key: dict(enumerate(values)) for key, values in columns.items()}
    for value in (objects, [list(row) for row in ROWS], columns, by_row):
        for indent in (None, 1):
            path = write("a.json", json.dumps(value, indent=indent))
            assert _rows(_load(path)) == ROWS
    lines = "".join(json.dumps(value) + "\n" for value in objects)
    for name in ("a.json", "a.ndjson", "a.txt", "A.JSONL"):
        assert _rows(_load(write(name, lines))) == ROWS
    by_label = {k: [t for t, label in ROWS if label == k] for k in ("good", "bad")}
    by_label["good"].pop()
    found = _rows(_load(write("a.json", json.dumps(by_label))))
    assert found == [(t, k) for k, texts in by_label.items() for t in texts]


def test_json_parts_are_the_parts_of_the_split(write):
    pairs = [list(row) for row in ROWS]
    value = {"oos_val": pairs[:1], "val": pairs[1:2], "train": pairs, "test": pairs[2:]}
    dataset = _load(write("a.json", json.dumps(value, indent=1)))
    assert dataset.parts is not None
    assert [dataset.parts.count(p) for p in ("train", "validation", "test")] == [
        6,
        2,
        4,
    ]
    with pytest.raises(DataError, match="'holdout' is no part of a split"):
        _load(write("a.json", json.dumps({"train": pairs, "holdout": pairs})))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5", ": no texts in this JSON; expected an array of objects"),
        ('"a"', ": no texts in this JSON; expected an array of objects"),
        ('{"a": 1}', ": no texts in this JSON; expected an array of objects"),
        ("[[1, 2, 3]]", r", entry 1: \[1, 2, 3\]; expected an object or \[text, "),
        ("[", r": not JSON \(Expecting value"),
        ('[{"a', r": not JSON \(Unterminated string"),
    ],
)
def test_json_that_holds_no_texts_is_refused(write, text, told):
    with pytest.raises(DataError, match=rf"a\.json{told}"):
        _load(write("a.json", text))


def test_a_folder_for_each_class(write, tmp_path):
    for i, (text, label) in enumerate(ROWS):
        write(f"plain/{label}/{i}.txt", text + "\n")
        write(f"parts/{'train' if i < 4 else 'test'}/{label}/{i}.txt", text)
    dataset = _load(str(tmp_path / "plain"))
    assert sorted(_rows(dataset)) == sorted(ROWS) and dataset.parts is None
    dataset = _load(str(tmp_path / "parts"))
    assert sorted(_rows(dataset)) == sorted(ROWS)
    assert dataset.parts is not None and dataset.parts.count("train") == 4
    write("plain/bad/1.txt", b"caf\xe9")
    with pytest.raises(DataError, match=r"1\.txt, line 1: byte 0xe9"):
        _load(str(tmp_path / "plain"))


def test_fasttext_lines(write):
    lines = "".join(f"__label__{label} {text}\n" for text, label in ROWS)
    path = write("a.txt", lines)
    assert _rows(_load(path)) == ROWS
    assert _predicted(path) == TEXTS
    several = "__label__a __label__b one and two\n"
    told = r"line 7: 'label' holds 2 labels .*multi-label.* \(1 of the 7 rows after"
    with pytest.raises(DataError, match=told):
        _load(write("a.txt", lines + several + several + lines))


def test_label_and_sub_label_before_the_text_are_told_apart(write):
    lines = "".join(f"{label.upper()}:sub {text}\n" for text, label in ROWS)
    with pytest.raises(DataError, match=r"each line is LABEL:SUB and a text; .*sed"):
        _load(write("a.label", lines))


def test_texts_and_labels_in_two_files(write):
    texts = write("texts.txt", "".join(f"{text}\n" for text in TEXTS))
    numbers = "".join(f"{['good', 'bad'].index(k)}\n" for k in LABELS)
    how = {"labels_file": write("labels.txt", numbers)}
    assert set(_load(texts, **how).classes) == {"0", "1"}
    for names in ("good\nbad\n", "1\tbad\n0\tgood\n"):
        named = write("names.txt", names)
        assert _rows(_load(texts, label_names=named, **how)) == ROWS
    with pytest.raises(DataError, match="without labels; give them with --labels-file"):
        _load(texts)
    with pytest.raises(DataError, match=r"labels\.txt: 5 labels, .* has 6 texts"):
        _load(texts, labels_file=write("labels.txt", numbers[2:]))
    with pytest.raises(DataError, match="no name for the label '1'; it has 1"):
        _load(texts, label_names=write("n", "x\n"), labels_file=write("l", numbers))


def test_the_texts_and_labels_of_the_test_part_in_two_files(write):
    texts = "".join(f"{text}\n" for text in TEXTS)
    labels = "".join(f"{label}\n" for label in LABELS)
    train, of_train = write("a.txt", texts), write("a.labels", labels)
    test, of_test = write("b.txt", "new words\n"), write("b.labels", "good\n")
    how = {"test_data": test, "test_labels_file": of_test}
    dataset = _load(train, labels_file=of_train, **how)
    assert _rows(dataset) == [*ROWS, ("new words", "good")]
    assert dataset.parts == ("train",) * 6 + ("test",)
    lines = "".join(f"__label__{label} {text}\n" for text, label in ROWS)
    assert _rows(_load(write("c.txt", lines), **how)) == _rows(dataset)
    with pytest.raises(
        DataError, match=r"b\.txt: .*of --test-data: --test-labels-file"
    ):
        _load(train, labels_file=of_train, test_data=test)
    with pytest.raises(ValueError, match=r"test_labels_file needs test_data"):
        DataConfig(source=train, labels_file=of_train, test_labels_file=of_test)


def test_names_of_labels_that_begin_at_one(write):
    path = write("a.csv", "text,label\na b c,1\nd e f,2\ng h,1\ni j,2\n")
    names = write("classes.txt", "World\nSports\n")
    assert _rows(_load(path, label_names=names))[0] == ("a b c", "World")
    with_zero = write("b.csv", "text,label\na b c,0\nd e f,1\ng h,0\ni j,1\n")
    assert _rows(_load(with_zero, label_names=names))[0] == ("a b c", "World")


def _zip(files: dict[str, str], path: Path) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return str(path)


def test_an_archive_is_read_without_unpacking(tmp_path, monkeypatch):
    table = _lines(",", header="text,label", quote='"')
    monkeypatch.chdir(tmp_path)
    one = _zip({"readme.md": "x", "deep/spam.csv": table}, tmp_path / "one.zip")
    assert _rows(_load(one)) == ROWS
    unlabelled = "text\n" + "".join(f'"{text}"\n' for text in TEXTS)
    kaggle = {"train.csv": table, "test.csv": unlabelled, "sample_submission.csv": "id"}
    dataset = _load(_zip(kaggle, tmp_path / "kaggle.zip"))
    assert _rows(dataset) == ROWS
    assert "left out, as it has no labels: test.csv" in dataset.notes
    parts = _zip({"train.csv": table, "test.csv": table}, tmp_path / "parts.zip")
    assert _load(parts).parts == ("train",) * 6 + ("test",) * 6
    assert _predicted(one) == TEXTS
    two = _zip({"a.csv": table, "b.csv": table}, tmp_path / "two.zip")
    with pytest.raises(DataError, match=r"several tables \(a\.csv, b\.csv\)"):
        _load(two)
    with pytest.raises(DataError, match=r"several tables .*, as \S+two\.zip/a\.csv"):
        _predicted(two)
    assert _rows(_load(f"{two}/b.csv")) == ROWS
    assert _load(f"{two}/b.csv").sha256 != _load(f"{two}/a.csv").sha256
    assert _predicted(f"{two}/b.csv") == TEXTS
    assert _load(f"{parts}/test.csv").parts is None
    with pytest.raises(DataError, match=r"no table c\.csv in it; there are a\.csv"):
        _load(f"{two}/c.csv")
    assert sorted(p.suffix for p in tmp_path.rglob("*")) == [".zip"] * 4


def test_archives_that_are_hostile_are_refused(tmp_path, monkeypatch):
    table = _lines(",", header="text,label", quote='"')
    path = tmp_path / "a.zip"
    with pytest.raises(DataError, match="no table in it"):
        _load(_zip({"../../etc/x.txt": table}, path))
    good = Path(_zip({"a.csv": table * 50}, path)).read_bytes()
    for damaged in (good[:40], good[:60] + b"xxxxxxxx" + good[68:], b"text,label\n"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.zip: damaged or no \.zip"):
            _load(str(path))
    path.write_bytes(good)
    monkeypatch.setattr(content, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to more than"):
        _load(str(path))


def test_a_sheet_of_excel(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [(None, None), ("text", "label", None), *ROWS, (None,), (5, 1), (6, 1)]:
        book.active.append(row)
    book.create_sheet("more").append(("x",))
    path = tmp_path / "a.xlsx"
    book.save(path)
    dataset = _load(str(path))
    assert _rows(dataset) == [*ROWS, ("5", "1"), ("6", "1")]
    assert "of 2 sheets 'Sheet' was read" in dataset.notes
    assert "2 blank lines skipped" in dataset.notes
    assert _predicted(str(path)) == list(dataset.texts)
    damaged = path.read_bytes()[:2000]
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"a\.xlsx: damaged or no \.xlsx"):
        _load(str(path))


def _zstandard(raw: bytes) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    buffer = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(raw)
    return buffer.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".bz2", bz2.compress), (".zst", _zstandard)]
)
def test_more_ways_of_packing(write, suffix, pack, monkeypatch):
    table = _lines(",", header="text,label", quote='"').encode()
    path = write("a.csv" + suffix, pack(table))
    assert _rows(_load(path)) == ROWS
    assert _predicted(path) == TEXTS
    for damaged in (pack(table)[:-5], b"no such thing", pack(table)[:20] + b"x" * 9):
        with pytest.raises(DataError, match=r"damaged or no (bzip2|zstd)"):
            _load(write("a.csv" + suffix, damaged))
    path = write("a.csv" + suffix, pack(table * 1000))
    monkeypatch.setattr(content, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to more than"):
        _load(path)


def test_several_files_and_patterns_are_one_dataset(write, tmp_path):
    """Silent fault 7: of two --data the last won."""
    header = "text,label"
    a = write("x1.csv", f"{header}\nbread and wine,good\ncold soup today,bad\n")
    b = write("x2.csv", f"{header}\na warm room,good\nno answer at all,bad\n")
    both = _load((a, b))
    assert both.texts == (
        *("bread and wine", "cold soup today"),
        *("a warm room", "no answer at all"),
    )
    pattern = _load(str(tmp_path / "x*.csv"))
    assert pattern.texts == both.texts and pattern.sha256 == both.sha256
    assert _load((b, a)).sha256 != both.sha256
    assert both.understood is not None and both.understood.more == 1
    with pytest.raises(DataError, match="no file has such a name"):
        _load(str(tmp_path / "y*.csv"))
    odd = write("odd[1].csv", f"{header}\na b,x\nc d,y\ne f,x\ng h,y\n")
    assert len(_load(odd).texts) == 4  # a name, not a pattern


def test_files_named_after_parts_are_the_parts(write, tmp_path):
    table = _lines(",", header="text,label", quote='"')
    for name in ("train.csv", "test.csv"):
        write(name, table)
    dataset = _load(str(tmp_path / "*.csv"))
    assert dataset.parts == ("test",) * 6 + ("train",) * 6
    assert dataset.understood is not None
    assert dict(dataset.understood.labels) == {"good": 6, "bad": 6}


def test_the_test_part_may_be_named_apart(write):
    table = _lines(",", header="text,label", quote='"')
    train, test = write("a.csv", table), write("b.csv", "text,label\nnew words,good\n")
    dataset = _load(train, test_data=test)
    assert dataset.parts == ("train",) * 6 + ("test",)
    assert dataset.texts[-1] == "new words"
    assert dataset.sha256 != _load(train).sha256


def test_an_unlabelled_file_beside_labelled_ones_is_left_out_and_told(write, tmp_path):
    write("d/train.csv", _lines(",", header="text,label", quote='"'))
    write("d/test.csv", "id,text\n1,some words\n")
    dataset = _load(str(tmp_path / "d"))
    assert _rows(dataset) == ROWS
    assert "left out, as it has no labels: test.csv" in dataset.notes
    write("d/test.csv", "id,body\n1,some words\n")  # another table altogether
    with pytest.raises(DataError, match=r"test\.csv.*no column 'text'"):
        _load(str(tmp_path / "d"))


def _predicted(path: str, **how) -> list[str]:
    found = windows([], Path(path), Reading(**how), io.BytesIO())
    return [row.text for window in found for row in window]


def test_a_file_of_texts_to_predict_is_one_a_line_unless_it_is_said(write):
    lines = "good, they said\nbad, he said\nall good, then\n"
    path = write("a.txt", lines)
    assert _predicted(path) == lines.splitlines()
    how = {"text_column": "2", "header": False, "delimiter": ","}
    assert _predicted(path, **how) == [" they said", " he said", " then"]
    usual = {"usual": ("body", "head")}
    for header in ("body,head,n", "HEAD,body,n", "n,text,m"):
        named = write("c.csv", f"{header}\none,two,three\n")
        first = {"b": "one\ntwo", "H": "two\none", "n": "two"}[header[0]]
        assert _predicted(named, **usual) == [first]
    table = write("b.txt", "label;text\ngood;one, two\nbad;three\n")
    assert _predicted(table) == ["one, two", "three"]


def test_a_stream_and_a_name_are_enough():
    table = "Message;Kind\n" + _lines(";", quote='"')
    how = Reading(text_column="message", label_column="kind")
    found = read_stream(io.BytesIO(table.encode()), "upload.csv", how)
    assert list(zip(found.texts, found.labels, strict=True)) == ROWS


def test_a_table_is_read_as_before_though_its_texts_hold_other_delimiters(write):
    rows = "".join(f'"{i}; a | b\tc; d",{"xy"[i % 2]}\n' for i in range(9))
    table = read_table(Path(write("a.csv", "text,label\n" + rows)))
    assert table.texts == tuple(f"{i}; a | b\tc; d" for i in range(9))


def test_a_tab_behind_a_fasttext_label_is_as_good_as_a_space(tmp_path):
    path = tmp_path / "x.txt"
    lines = ["__label__a\tgood day", "__label__b\tbad night", "__label__a one"]
    path.write_text("\n".join(lines * 2) + "\n")
    table = read_table(path)
    assert table.texts[:3] == ("good day", "bad night", "one")
    assert table.labels[:3] == ("a", "b", "a")
