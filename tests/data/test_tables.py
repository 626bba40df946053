import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_jax.config import DataConfig
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.tables import read_table
from gpt2_jax.errors import DataError
from gpt2_jax.inference.windows import windows

TABLE_CHARACTERS = st.one_of(
    st.sampled_from("\",\n\r\t '\u2028"),
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
)


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.csv"):
        path = tmp_path / name
        raw = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(raw)
        return path

    return write


@pytest.mark.fault(32, 33, 36)
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", r"empty; expected a header"),
        ("a.csv", "\n \n", r"empty; expected a header"),
        ("a.csv", "text,label\n", r"a header but no rows"),
        ("a.csv", "text,label\n\n\n", r"a header but no rows"),
        (
            "a.csv",
            "msg,kind\nhi,a\n",
            r"no column 'text' or 'label'; found msg, kind; choose",
        ),
        (
            "a.csv",
            "hi,a\nyo,b\n",
            r"no column 'text' or 'label'; found hi, a; .*--no-",
        ),
        ("a.csv", "text;label\nhi;a;b\n", r"line 2: 3 fields.*header has 2"),
        ("a.csv", "text,text\nhi,a\n", r"column 'text' stands twice"),
        ("a.csv", "text,label\nhi,a\nyo,b,c\n", r"line 3: 3 fields.*header has 2"),
        ("a.csv", "text,label\nhi,a\nyo\n", r"line 3: 1 fields"),
        ("a.csv", 'text,label\n"1\n2",a\nyo\n', r"line 4: 1 fields"),
        ("a.csv", 'text,label\r\n"1\r\n\r\n2",a\r\n\r\nyo\r\n', r"line 6: 1 fields"),
        ("a.csv", 'text,label\nhi,a\n"yo,b\nho,b\n', r"line 3: unexpected end"),
        ("a.csv", 'text,label\n"hi" there,a\n', r"line 2: .* check the quotes"),
        ("a.csv", "text,label\nhi,\n", r"line 2: the label is empty"),
        ("a.csv", 'text,label\n"h\ni",a\nyo,  \n', r"line 4: the label is empty"),
        ("a.csv", b"text,label\nhi,a\nh\xe9,b\n", r"line 3: byte 0xe9 is not UTF-8"),
        ("a.csv", b"text,label\nh\0i,a\n", r"line 2: a NUL byte"),
        ("a.csv", "text,label\nhi,a\n".encode("utf-16"), r"NUL byte.*UTF-16"),
        ("a.csv", "ש\u0a0aל".encode("utf-16"), r"line 1: byte 0xff is not UTF-8"),
        ("a.tsv", "text\tlabel\nhi\n", r"line 2: 1 fields"),
        ("a.tsv", "text\tlabel\r\n\r\nhi\ta\tb\r\n", r"line 3: 3 fields"),
        ("a.jsonl", '{"text": "hi", "label": "a"}\nhi\n', r"line 2: not JSON"),
        ("a.jsonl", '["hi", "a", "b"]\n', r"line 1: expected a JSON object"),
        ("a.jsonl", '{"text": null, "label": "a"}\n', r"line 1: 'text' is null"),
        ("a.jsonl", '\n{"text": ["hi"], "label": "a"}\n', r"line 2: 'text' is \["),
        ("a.jsonl", '{"text": "hi", "label": ""}\n', r"line 1: the label is empty"),
        # else the second one is lost in silence, as no column of a CSV may be
        ("a.jsonl", '{"text": "", "text": "", "label": "a"}\n', r"has twice: text"),
        # else predictions.csv cannot be written, after all the training
        ("a.jsonl", '{"text": "\\ud83d", "label": "a"}\n', r"line 1: .*surrogate"),
        ("a.jsonl", '{"text": "hi"}\n', r"line 1: no column 'label'; found text"),
        ("a.txt", "text,label\nhi,a\nyo\n", r"line 3: 1 fields"),
        ("a.txt", "hi there\nyou\n", r"without labels; give them with --labels-file"),
    ],
)
def test_bad_files_are_refused_with_what_and_where(write, name, content, message):
    path = write(content, name)
    with pytest.raises(DataError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="a folder"):
        read_table(tmp_path)


@pytest.mark.fault(34, 35)
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("text,label\nhi,a\nyo,b\n", ("hi", "yo")),
        ("text,label\r\nhi,a\r\nyo,b\r\n", ("hi", "yo")),
        ("label,text\na,hi\nb,yo", ("hi", "yo")),
        ('text,label\n"hi, you",a\n"say ""yo""",b\n', ("hi, you", 'say "yo"')),
        ('text,label\n"two\nlines",a\nyo,b\n', ("two\nlines", "yo")),
        ('text,label\r\n"1\r\n2",a\r\n"1\r2",b\r\n', ("1\r\n2", "1\r2")),
        ("text,label,id,\nhi,a,7,\nyo,b,,\n", ("hi", "yo")),
        ("text,label\nNA,a\nnull,b\n", ("NA", "null")),
        ("text,label\n123,a\n4e5,b\n", ("123", "4e5")),
        ("text,label\n,a\n  ,b\n", ("", "  ")),
        ("text,label\n=cmd(),a\n😀 שלום é,b\n", ("=cmd()", "😀 שלום é")),
    ],
)
def test_csv_texts_are_kept_to_the_character(write, content, texts, bom):
    table = read_table(write(bom + content))
    assert table.texts == texts
    assert table.labels == ("a", "b")
    assert table.notes == ()


@given(st.lists(st.tuples(st.text(TABLE_CHARACTERS), st.text(min_size=1)), min_size=1))
@settings(max_examples=50, deadline=None)
def test_what_csv_writes_is_read_back(tmp_path_factory, rows):
    rows = [(text, f"label {len(label)}") for text, label in rows]
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    table = read_table(path)
    assert list(zip(table.texts, table.labels, strict=True)) == rows


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\n\nhi,a\n\n\nyo,b\n"),
        ("a.csv", "\r\ntext,label\r\nhi,a\r\n\r\nyo,b\r\n\r\n"),
        ("a.tsv", "text\tlabel\n\nhi\ta\n\nyo\tb\n\n"),
        ("a.tsv", "text\tlabel\r\n\r\nhi\ta\r\n\r\n\r\nyo\tb"),
        (
            "a.jsonl",
            '\n{"text": "hi", "label": "a"}\n \n\n{"text": "yo", "label": "b"}\n',
        ),
        (
            "a.jsonl",
            '{"text":"hi","label":"a"}\r\n\r\n\r\n{"text":"yo","label":"b"}\n\n',
        ),
    ],
)
def test_blank_lines_are_counted(write, name, content):
    table = read_table(write(content, name))
    assert table.texts == ("hi", "yo")
    assert table.labels == ("a", "b")
    assert table.notes == ("3 blank lines skipped",)


def test_an_empty_text_in_quotes_is_a_row_of_a_file_of_texts(write):
    # else every later prediction belongs to another row
    path = write('text\nhi\n""\nyo\n')
    (window,) = windows([], path, Reading(), io.BytesIO())
    assert [row.text for row in window] == ["hi", "", "yo"]


def test_columns_that_are_not_asked_for_may_hold_anything(write):
    line = '{"text": "hi", "label": "a", "score": null, "tags": ["x"], "by": {"n": 1}}'
    assert read_table(write(line, "a.jsonl")).texts == ("hi",)


def test_a_row_without_its_group_is_refused(write):
    path = write('{"text": "hi", "label": "a"}\n', "a.jsonl")
    with pytest.raises(DataError, match="line 1: no column 'family'"):
        read_table(path, group_column="family")


def test_groups_are_read_in_the_order_of_the_rows(write):
    path = write("text,label,family\nhi,a,f\nyo,b,g\nho,a,f\n")
    assert read_table(path).groups is None
    assert read_table(path, group_column="family").groups == ("f", "g", "f")


def test_quotes_are_not_special_in_tsv_and_it_is_said(write):
    table = read_table(write('text\tlabel\n"hi"\ta\nsay "yo\tb\n', "a.tsv"))
    assert table.texts == ('"hi"', 'say "yo')
    assert "1 texts stand in quotes" in table.notes[0]


def test_jsonl_holds_newlines_separators_and_other_labels(write):
    lines = '{"text": "a\\nb \u2028c", "label": 1}\n\n{"text": "", "label": true}\n'
    table = read_table(write(lines, "a.jsonl"))
    assert table.texts == ("a\nb \u2028c", "")
    assert table.labels == ("1", "true")
    assert table.notes == ("1 blank lines skipped",)


def test_only_a_newline_ends_a_row_of_a_tsv(write):
    table = read_table(write("text\tlabel\na\x0bb\u2028c\x85d\ta\n", "a.tsv"))
    assert table.texts == ("a\x0bb\u2028c\x85d",)


def test_columns_are_chosen_by_name(write):
    path = write("id,body,kind\n1,hi,a\n2,yo,b\n3,ho,a\n4,ha,b\n")
    config = DataConfig(source=str(path), text_column="body", label_column="kind")
    dataset = load_dataset(config)
    assert dataset.texts == ("hi", "yo", "ho", "ha")
    assert dataset.classes == ("a", "b")
    assert dataset.labels == (0, 1, 0, 1)


@pytest.mark.fault(37)
def test_labels_keep_their_names_in_any_number(write):
    rows = "".join(f"t{i},{label}\n" for i, label in enumerate("zebra") for _ in "ab")
    path = write("text,label\n" + rows)
    dataset = load_dataset(DataConfig(source=str(path)))
    assert dataset.classes == ("a", "b", "e", "r", "z")
    names = [dataset.classes[label] for label in dataset.labels]
    assert names == list("zzeebbrraa")


@pytest.mark.fault(32)
def test_one_class_and_a_label_seen_once_are_refused(write):
    one = write("text,label\nhi,a\nyo,a\n", "one.csv")
    with pytest.raises(DataError, match="only one class, 'a'"):
        load_dataset(DataConfig(source=str(one)))
    once = write("text,label\nhi,a\nyo,a\nho,b\n", "once.csv")
    with pytest.raises(DataError, match=r"'b' is seen once \(text 3\)"):
        load_dataset(DataConfig(source=str(once)))
