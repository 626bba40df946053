"""Broken bytes: how many, where, and only advice that works."""

from __future__ import annotations

import io
import re

import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.errors import DataError
from gpt2_jax.inference.windows import windows

ROWS = "".join(f"ein Gruß aus München {i} 🙂,{'ab'[i % 2]}\n" for i in range(200))
UTF8 = f"text,label\n{ROWS}".encode()


def _load(path, **how):
    return load_dataset(DataConfig(source=str(path), **how))


def test_a_few_broken_bytes_of_utf8_are_counted_and_replaced_when_said(tmp_path):
    """Silent fault 5: the advice was an encoding that made every other letter wrong."""
    path = tmp_path / "a.csv"
    lines = UTF8.split(b"\n")
    lines[50] = b"x \xa0 y,a"
    lines[90] = b"x \xff y,b"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(DataError) as caught:
        _load(path)
    message = str(caught.value)
    assert "line 51: byte 0xa0 is not UTF-8 (2 broken bytes)" in message
    assert "--encoding-errors replace" in message and "--encoding " not in message
    dataset = _load(path, encoding_errors="replace")
    assert len(dataset.texts) == 200
    assert sum("\ufffd" in text for text in dataset.texts) == 2
    assert sum("Gruß aus München" in text for text in dataset.texts) == 198
    reading = Reading(encoding_errors="replace")
    found = windows([], path, reading, io.BytesIO())
    assert tuple(row.text for window in found for row in window) == dataset.texts


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman"])
def test_what_is_suggested_reads_the_whole_file(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes(UTF8.decode().replace("🙂", "!").encode(encoding))
    with pytest.raises(DataError) as caught:
        _load(path)
    suggested = re.findall(r"--encoding ([\w-]+) \('(.*?)'\)", str(caught.value))
    assert encoding in [name for name, _ in suggested]
    assert any("Gruß" in shown for _, shown in suggested)
    for name, shown in suggested:
        dataset = _load(path, encoding=name)
        assert len(dataset.texts) == 200 and shown.strip() in dataset.texts[0]


def test_no_header_and_another_encoding_are_told_at_once(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        "".join(ROWS.splitlines(True)[:9]).encode("ascii", "ignore") + b"caf\xe9,a\n"
    )
    message = r"--no-header --text-column 1 --label-column 2.*byte 0xe9.*cp1252"
    with pytest.raises(DataError, match=message):
        _load(path)


def test_predict_reads_other_encodings_too(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(UTF8.decode().encode("utf-16"))
    dataset = _load(path, encoding="utf-16")
    found = windows([], path, Reading(encoding="utf-16"), io.BytesIO())
    assert tuple(row.text for window in found for row in window) == dataset.texts
    with pytest.raises(DataError, match=r"a NUL byte.*--encoding utf-16"):
        list(windows([], path, Reading(), io.BytesIO()))


def test_a_pipe_is_not_waited_for(tmp_path):
    parts = [b"good\n", b"caf\xe9\n"]

    class Pipe(io.RawIOBase):
        def read1(self, _: int) -> bytes:
            return parts.pop(0)  # once too often is an error

    found = windows([], None, Reading(), Pipe(), as_they_come=True)  # pyright: ignore
    assert [row.text for row in next(found)] == ["good"]
    with pytest.raises(DataError, match="line 2: byte 0xe9 is not UTF-8; say --enc"):
        next(found)


def test_unknown_ways_with_errors_are_refused():
    with pytest.raises(ValueError, match="encoding_errors='ignore' is not one of"):
        DataConfig(encoding_errors="ignore")  # pyright: ignore
