"""Texts to predict: from arguments, files and lines that keep coming."""

from __future__ import annotations

import io
import itertools
import json
import os
import tracemalloc
from collections.abc import Iterator

import pytest

from gpt2_jax.data import lines
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.tables import read_table
from gpt2_jax.errors import DataError
from gpt2_jax.inference.rows import Row
from gpt2_jax.inference.windows import WINDOW_CHARACTERS, WINDOW_TEXTS, windows


def _texts(texts=(), file=None, stream=b"", **how) -> list[str]:
    found = windows(texts, file, Reading(**how), io.BytesIO(stream))
    return [row.text for window in found for row in window]


def test_given_texts_come_before_those_of_the_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("c\nd\n")
    assert _texts(["a", ""], path, b"never read") == ["a", "", "c", "d"]


def test_how_a_file_was_understood_is_told_and_what_was_left_out(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f'"some long words {i}","other words for {i}",x,' for i in range(12)]
    path.write_text("\n".join(["body,more,kind,", *rows, "", "a b c,d e f,y,z"]) + "\n")
    told: list[str] = []
    source = windows([], path, Reading(usual=("body",)), io.BytesIO(), tell=told.extend)
    assert sum(map(len, source)) == 13
    assert told == [
        f'{path}: CSV, delimiter comma, quote ", first row is the header, utf-8',
        "  text  'body': some long words 0",
        "  not used: 'more', 'kind'",
        "1 blank lines skipped",
        "1 rows have text in columns without a name (column 4), which is left out",
        "the column 'more' looks like text too and is left out; add it with "
        "--text-column body --text-column more",
    ]


def test_a_window_ends_at_a_number_of_texts_or_of_characters():
    many = windows(["x"] * (WINDOW_TEXTS + 3), None, Reading(), io.BytesIO())
    assert [len(w) for w in many] == [WINDOW_TEXTS, 3]
    wide = ["x" * (WINDOW_CHARACTERS // 2)] * 5
    assert [len(w) for w in windows(wide, None, Reading(), io.BytesIO())] == [2, 2, 1]


def test_windows_for_a_file_do_not_depend_on_how_the_stream_came():
    lines = b"".join(b"t%d\n" % i for i in range(WINDOW_TEXTS + 9))
    whole = list(windows([], None, Reading(), io.BytesIO(lines)))
    assert [len(window) for window in whole] == [WINDOW_TEXTS, 9]
    dripping = windows([], None, Reading(), _Reads(lines[:7], lines[7:60], lines[60:]))
    assert list(dripping) == whole


class _Reads(io.BytesIO):
    """A stream of which each read gives the next of `parts`."""

    def __init__(self, *parts: bytes) -> None:
        super().__init__()
        self.parts = list(parts)

    def read1(self, size: int | None = -1) -> bytes:
        return self.parts.pop(0) if self.parts else b""


def test_what_was_sent_is_answered_before_more_is_read():
    parts = b'{"text": "a"}\n', b'"b"\n"c"\n"hal', b'f"\n"last"'
    stream = _Reads(*parts)
    found = windows([], None, Reading(), stream, as_they_come=True)
    assert next(found) == [Row("a")]
    assert len(stream.parts) == 2
    assert next(found) == [Row("b"), Row("c")]
    assert [row.text for window in found for row in window] == ["half", "last"]


def test_lines_of_a_pipe_come_in_groups_and_in_order():
    inner, outer = os.pipe()
    os.write(outer, b"".join(b"%d\n" % i for i in range(500)))
    os.close(outer)
    with os.fdopen(inner, "rb") as stream:
        groups = list(windows([], None, Reading(), stream, as_they_come=True))
    assert len(groups) == 1
    assert [row.text for row in groups[0]] == [str(i) for i in range(500)]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ('{"text": "a\\nb", "id": 3}\n', Row("a\nb", 3)),
        ('{"text": "a", "id": "x-1"}\n', Row("a", "x-1")),
        ('"a \\u00e9"\n', Row("a é")),
        ("plain, with commas\r\n", Row("plain, with commas")),
        ('{"text": ""}\n', Row("")),
        ("  indented\n", Row("  indented")),
        ("__label__ham see you\n", Row("see you")),  # as in a file
        ("\ufeffmark\n", Row("mark")),
        ('"<|endoftext|>"', Row("<|endoftext|>")),
    ],
)
def test_a_line_is_an_object_a_json_string_or_plain_text(line, row):
    stream = io.BytesIO(line.encode())
    assert list(windows([], None, Reading(), stream)) == [[row]]


def test_blank_lines_of_a_stream_are_skipped():
    assert _texts(stream=b"\na\n  \nb") == ["a", "b"]


def test_the_text_may_stand_under_another_key():
    assert _texts(stream=b'{"message": "hi"}\n', text_column="message") == ["hi"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "a"', "line 3: not JSON"),
        (b'{"body": "a"}', "line 3: no column 'text'; found body; "),
        (b'{"text": [3]}', r"line 3: 'text' is \[3\]; expected a string"),
        (b'{"text": null}', "line 3: 'text' is null; expected a string"),
        (b'{"text": "a", "text": "b"}', "line 3: not JSON .has twice: text"),
        (b'{"a":' * 100_000, "line 3: not JSON"),
        (b"caf\xe9", "line 3: byte 0xe9 is not UTF-8"),
        (b"nul \0", "line 3: a NUL byte"),
    ],
)
@pytest.mark.parametrize("name", [None, "t.jsonl"])
def test_a_broken_line_is_refused_by_its_number_after_those_before_it(
    line, message, name, tmp_path
):
    content = b'{"text": "good"}\n\n' + line + b'\n{"text": "never"}\n'
    file = None if name is None else tmp_path / name
    if file is not None:
        file.write_bytes(content)
    found = windows([], file, Reading(), io.BytesIO(content))
    assert next(found) == [Row("good")]
    with pytest.raises(DataError, match=message):
        next(found)


def test_a_line_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE", 2**20)
    endless = _Reads(b"a\nb", *[b"b" * 2**16] * 40)
    found = windows([], None, Reading(), endless)
    assert next(found) == [Row("a")]
    with pytest.raises(DataError, match=r"line 2: longer than 1 MiB"):
        next(found)
    assert len(endless.parts) > 20  # the rest was never read


def test_an_empty_input_says_what_to_give(tmp_path):
    with pytest.raises(DataError, match="give TEXT, --file, or JSON lines"):
        _texts(stream=b"\n")
    for name in ("t.txt", "t.csv", "t.jsonl"):
        (tmp_path / name).write_text("text\n" if name == "t.csv" else "\n")
        with pytest.raises(DataError, match=f"{name}: no texts"):
            _texts(file=tmp_path / name)


_CSV = 'id,text\r\n1,"a, b"\r\n2,"two\r\nlines, ""quoted"""\r\n\r\n3,NA\r\n'


def test_files_are_read_as_the_training_reads_them(tmp_path):
    (tmp_path / "t.csv").write_bytes(_CSV.encode("utf-8-sig"))
    (tmp_path / "t.tsv").write_text('text\tid\n"a, b"\t1\n\nNA\t2\n')
    values = [{"text": text, "id": i} for i, text in enumerate(("a\u2028b", "c"))]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, values)))
    for name in ("t.csv", "t.tsv", "t.jsonl"):
        expected = read_table(tmp_path / name, label_column="id").texts
        assert _texts(file=tmp_path / name) == list(expected), name


def test_the_id_of_a_row_stays_with_it(tmp_path):
    (tmp_path / "t.csv").write_bytes(_CSV.encode())
    window = next(windows([], tmp_path / "t.csv", Reading(), io.BytesIO()))
    assert [row.id for row in window] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,message\n1,a\n", "line 1: no column 'text'; found id, message"),
        ("text,text\na,b\n", "column 'text' stands twice"),
        ("text,id\na,1\nb\n", "line 3: 1 fields, but the header has 2"),
        ('text,id\na,1\n"b,2\nc,3\n', "line 3: unexpected end of data"),
    ],
)
def test_a_broken_table_is_refused_by_its_line(content, message, tmp_path):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        _texts(file=tmp_path / "t.csv")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_of_a_text_file_are_texts_whatever_ends_them(tmp_path, newline):
    path = tmp_path / "t.txt"
    path.write_bytes(newline.join(["one", "", "two, three", ""]).encode())
    assert _texts(file=path) == ["one", "two, three"]


def test_what_is_no_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        _texts(file=tmp_path / "none.txt")
    with pytest.raises(DataError, match="a folder"):
        _texts(file=tmp_path)


def test_a_field_of_megabytes_is_read(tmp_path):
    (tmp_path / "t.csv").write_text("text\n" + "a" * 3_000_000 + "\n")
    assert _texts(file=tmp_path / "t.csv") == ["a" * 3_000_000]


class _Endless(io.BytesIO):
    """`count` lines, made as they are read."""

    def __init__(self, count: int) -> None:
        super().__init__()
        line = json.dumps({"text": "win a free prize " * 4, "id": 12345}) + "\n"
        self.blocks: Iterator[bytes] = itertools.repeat(
            line.encode() * 100, count // 100
        )

    def read1(self, size: int | None = -1) -> bytes:
        return next(self.blocks, b"")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input():
    def peak(count: int) -> int:
        tracemalloc.start()
        found = windows([], None, Reading(), _Endless(count))
        total = sum(len(window) for window in found)
        assert total == count
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    few, many = (
        peak(3 * WINDOW_TEXTS // 100 * 100),
        peak(30 * WINDOW_TEXTS // 100 * 100),
    )
    assert many < 1.1 * few
