"""What is no text, or in UTF-16, is told by its first bytes; standard input too."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import re
import sys
import tarfile
import zipfile

import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.errors import DataError

ROWS = [("good bread", "a"), ("cold soup", "b"), ("warm room", "a"), ("no one", "b")]
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("a/1.txt"))
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.csv", CSV)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (_zip(), "a .zip or an .xlsx"),
        (gzip.compress(CSV.encode()), "packed by gzip; .* ends in .gz"),
        (bz2.compress(CSV.encode()), "packed by bzip2"),
        (lzma.compress(CSV.encode()), "packed by xz"),
        (_tar(), "a .tar; unpack it"),
        (pickle.dumps([1]), "a pickle"),
        (b"PAR1" + bytes(50), "a Parquet file"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(50), "a file of an old Office"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
    ],
    # archives tell the time, and each worker of the tests makes its own
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_what_is_no_text_is_told_by_name(tmp_path, raw, told):
    for name in ("a.csv", "a.txt", "a"):
        path = tmp_path / name
        path.write_bytes(raw)
        with pytest.raises(DataError, match=rf"{name}: {told}"):
            load_dataset(DataConfig(source=str(path)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
def test_the_encoding_that_is_advised_for_utf_16_reads_the_texts(
    tmp_path, encoding, name
):
    path = tmp_path / name
    path.write_bytes(CSV.encode(encoding))
    with pytest.raises(DataError) as caught:
        load_dataset(DataConfig(source=str(path)))
    (advice,) = re.findall(r"--encoding (\S+)", str(caught.value))
    dataset = load_dataset(DataConfig(source=str(path), encoding=advice))
    assert dataset.texts == tuple(text for text, _ in ROWS)


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"__label__{label} {text}\n" for text, label in ROWS),
        "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS),
        "text;label\n" + "".join(f"{text};{label}\n" for text, label in ROWS),
        "[" + ", ".join(f'["{text}", "{label}"]' for text, label in ROWS) + "]",
    ],
)
def test_standard_input_is_known_by_its_content(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    dataset = load_dataset(DataConfig(source="-"))
    names = [dataset.classes[label] for label in dataset.labels]
    assert list(zip(dataset.texts, names, strict=True)) == ROWS
