"""Texts to predict: from arguments, files and lines that keep coming."""

from __future__ import annotations

import io
import json

import pytest

from gpt2_jax.errors import DataError
from gpt2_jax.inference.stream import BATCH, batches_of_texts, read_texts


def _texts(texts=(), file=None, stream=(), column="text") -> list[str]:
    batches = batches_of_texts(texts, file, column, stream)
    return [text for batch in batches for text in batch]


def test_given_texts_come_before_those_of_the_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("c\nd\n")
    assert _texts(["a", ""], path, ["never read"]) == ["a", "", "c", "d"]


def test_many_texts_come_in_batches():
    sizes = [len(b) for b in batches_of_texts(["x"] * (BATCH + 3), None, "text", [])]
    assert sizes == [BATCH, 3]


def test_each_line_of_a_stream_is_answered_before_the_next_is_read():
    seen = []

    def lines():
        for i in range(3):
            seen.append(i)
            yield f'{{"text": "t{i}"}}\n'

    batches = batches_of_texts([], None, "text", lines())
    assert next(batches) == ["t0"]
    assert seen == [0]
    assert next(batches) == ["t1"]
    assert seen == [0, 1]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"text": "a\\nb", "id": 3}\n', "a\nb"),
        ('"a \\u00e9"\n', "a é"),
        ("plain, with commas\r\n", "plain, with commas"),
        ('{"text": ""}\n', ""),
        ("  indented\n", "  indented"),
    ],
)
def test_a_line_is_an_object_a_json_string_or_plain_text(line, text):
    assert _texts(stream=[line]) == [text]


def test_blank_lines_of_a_stream_are_skipped():
    assert _texts(stream=["\n", "a\n", "  \n", "b"]) == ["a", "b"]


def test_the_text_may_stand_under_another_key():
    assert _texts(stream=['{"message": "hi"}\n'], column="message") == ["hi"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a"', "line 2: not JSON"),
        ('{"body": "a"}', "line 2: no key 'text'; found body"),
        ('{"text": 3}', "line 2: expected a string, got 3"),
        ('{"text": null}', "line 2: expected a string, got null"),
    ],
)
def test_a_broken_line_is_refused_by_its_number(line, message):
    with pytest.raises(DataError, match=message):
        _texts(stream=["good\n", f"{line}\n"])


def test_an_empty_stream_says_what_to_give():
    with pytest.raises(DataError, match="give TEXT, --file, or JSON lines"):
        _texts(stream=["\n"])


def test_a_stream_that_is_not_utf8_is_a_data_error():
    stream = io.TextIOWrapper(io.BytesIO(b"good\n\xff\xfe bad\n"), encoding="utf-8")
    with pytest.raises(DataError, match="UTF-8"):
        _texts(stream=stream)


def test_tables_give_their_text_column_and_need_no_labels(tmp_path):
    (tmp_path / "t.csv").write_text('id,text\n1,"a, b"\n2,c\n')
    (tmp_path / "t.tsv").write_text("text\tid\na, b\t1\nc\t2\n")
    lines = [json.dumps({"text": text}) for text in ("a, b", "c")]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    for name in ("t.csv", "t.tsv", "t.jsonl"):
        assert read_texts(tmp_path / name, "text") == ["a, b", "c"], name


def test_a_table_without_the_column_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("id,message\n1,a\n")
    with pytest.raises(DataError, match="no column 'text'; found id, message"):
        read_texts(tmp_path / "t.csv", "text")
    assert read_texts(tmp_path / "t.csv", "message") == ["a"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_of_a_text_file_are_texts_whatever_ends_them(tmp_path, newline):
    path = tmp_path / "t.txt"
    path.write_bytes(newline.join(["one", "", "two, three", ""]).encode())
    assert read_texts(path, "text") == ["one", "two, three"]


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_texts(tmp_path / "none.txt", "text")
