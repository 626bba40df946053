"""Named datasets and files -> one `Dataset`."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gpt2_jax.config import DataConfig
from gpt2_jax.data import archive, sms_spam, two_files
from gpt2_jax.data.columns import ColumnsError
from gpt2_jax.data.content import MEMORY, NAMED, STDIN, expand, open_raw, suffixes
from gpt2_jax.data.corrections import correct_labels
from gpt2_jax.data.dataset import Dataset, make_dataset
from gpt2_jax.data.folders import read_folder
from gpt2_jax.data.imdb import load_imdb
from gpt2_jax.data.join import choose_files, join, read_labelled_ones
from gpt2_jax.data.labels import label_table
from gpt2_jax.data.memory import read_memory
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.sms_spam import load_sms, read_sms
from gpt2_jax.data.tables import Table, read_stdin, read_stream, read_table
from gpt2_jax.data.unused import OF_FILES, refuse_said, refuse_unused
from gpt2_jax.errors import DataError
from gpt2_jax.storage import bucket
from gpt2_jax.storage.download import forbidden_by

T = TypeVar("T")

Read = tuple[Table, str]  # with the SHA-256 of what was read


def load_dataset(
    config: DataConfig,
    *,
    to_train: bool = True,
    offline: bool = False,
    classes: Sequence[str] | None = None,
    rows: Any = None,
) -> Dataset:
    """Load what `config.source` names; `offline` forbids the network.

    `classes` is the order of them that a run keeps; see `order_classes`. `rows` are
    those of the source `memory`; see `read_memory`.

    Raises:
        DataError: it cannot be had or read; or, to train on it, it has fewer than two
            classes, or rare ones.
    """

    def load(config: DataConfig) -> Dataset:
        table, sha256 = _read(config, reading(config), offline, rows)
        name = source_name(config)
        table = label_table(name, table, config, to_train=to_train)
        if config.corrections is not None:
            table, file = correct_labels(name, table, Path(config.corrections))
            sha256 = _sha256(f"{sha256}\0{_sha256(file)}".encode())
        return make_dataset(name, sha256, table, classes)

    return _with_all_advice(load, config)


def load_texts(config: DataConfig, *, offline: bool = False) -> Read:
    """Load the texts of what `config.source` names; labels need not be there.

    Raises:
        DataError: it cannot be had or read.
    """

    def load(config: DataConfig) -> Read:
        how = dataclasses.replace(reading(config), labelled=False)
        return _read(config, how, offline)

    return _with_all_advice(load, config)


def _with_all_advice(load: Callable[[DataConfig], T], config: DataConfig) -> T:
    try:
        return load(config)
    except ColumnsError as error:
        if not error.advice or _is_gone(config.source):
            raise
        # What else is wrong is told at once, so that the next command is right.
        likely = {"encoding_errors": "replace", **error.advice}
        try:
            _with_all_advice(load, dataclasses.replace(config, **likely))
        except (DataError, ValueError) as other:
            raise ColumnsError(f"{error}. Besides, {other}") from None
        raise


def _is_gone(source: str | Path | Sequence[str]) -> bool:
    """Can `source` be read only once, or at a cost?"""
    gone = (STDIN, MEMORY)
    return any(name in gone or bucket.is_url(name) for name in _names(source))


def reads_stdin(config: DataConfig) -> bool:
    """Is standard input among what `config.source` names? It can be read only once."""
    return STDIN in _names(config.source)


def source_name(config: DataConfig) -> str:
    """Return what `config.source` is called."""
    return ", ".join(_names(config.source))


def _read(config: DataConfig, how: Reading, offline: bool, rows: Any = None) -> Read:
    name = source_name(config)
    if config.source in NAMED:
        why = "a dataset with columns and parts of its own"
        refuse_said(name, why, OF_FILES, config)
    if config.source == "demo":
        asset = importlib.resources.files("gpt2_jax") / "assets" / "demo.jsonl"
        with importlib.resources.as_file(asset) as path:
            table = read_table(path, group_column="family")
            sha256 = _sha256(path.read_bytes())
        table = dataclasses.replace(table, understood=None)  # no file of the user's
    elif config.source == "sms-spam":
        table, sha256 = load_sms(offline, book=config.book)
    elif config.source == "imdb":
        table, sha256 = load_imdb(offline)
    elif config.source == MEMORY:
        if rows is None:
            raise DataError(
                f"{MEMORY}: the rows were given from Python, which keeps none; give "
                "them again with finetune(dataset=...), or a file with --data"
            )
        table, sha256 = read_memory(rows, config, reading(config))
    else:
        try:
            table, sha256 = _own(config, how, offline)
        except OSError as error:
            raise DataError(f"{name}: cannot be read ({error.strerror})") from error
    return table, sha256


def reading(config: DataConfig) -> Reading:
    """Return what a config says of how files are read."""
    names = {field.name for field in dataclasses.fields(Reading)}
    return Reading(**{n: v for n, v in vars(config).items() if n in names})


def _names(source: str | Path | Sequence[str]) -> tuple[str, ...]:
    return tuple(source) if isinstance(source, (tuple, list)) else (str(source),)


def _own(config: DataConfig, how: Reading, offline: bool) -> Read:
    """Read the user's files; with them those that hold the test part, and the names."""
    table, sha256 = _several(config, _names(config.source), how, offline)
    # Of several files some may have a use; a stream cannot be read again without.
    known = table.understood
    if known and not (known.more or config.test_data or config.source == STDIN):
        refuse_unused(_names(config.source)[0], known.form.kind, config)
    if config.test_data:
        way = dataclasses.replace(config, labels_file=config.test_labels_file)
        test, test_sha256 = _several(way, _names(config.test_data), how, offline)
        for names, half in ((config.source, table), (config.test_data, test)):
            if half.parts is not None and len(set(half.parts)) > 1:
                raise DataError(
                    f"{', '.join(_names(names))}: has a split of its own; omit "
                    "--test-data, or name one file of it with each of --data and "
                    "--test-data"
                )
        train, test = (dataclasses.replace(t, parts=None) for t in (table, test))
        table = join(
            ", ".join(_names(config.source)), [("train", train), ("test", test)]
        )
        sha256 = _sha256(f"{sha256}\0{test_sha256}".encode())
    if config.label_names is not None:
        names = Path(config.label_names)
        table = two_files.name_labels(table, names)
        sha256 = _sha256(f"{sha256}\0{_sha256_of(names)}".encode())
    return table, sha256


def _several(
    config: DataConfig, names: Sequence[str], how: Reading, offline: bool
) -> Read:
    """Read files one after another, or as parts where each is named after one."""
    found = [path for name in names for path in expand(name)]
    if len(found) == 1:
        return _one(config, found[0], how, offline)
    if config.labels_file is not None or STDIN in found:
        raise DataError(
            f"{', '.join(found)}: several files; a file of labels, and standard input, "
            "go with one alone"
        )
    hashes: dict[str, str] = {}

    def read(name: str) -> Table:
        table, hashes[name] = _one(config, name, how, offline)
        return table

    files, notes = choose_files(
        ", ".join(found), [(name, name) for name in found], named=True
    )
    tables = read_labelled_ones(files, read, notes)
    whole = json.dumps([[part, hashes.get(name)] for part, _, name in files])
    return join(", ".join(found), tables), _sha256(whole.encode())


def _one(config: DataConfig, name: str, how: Reading, offline: bool) -> Read:
    """Read a file, a folder, an archive or standard input."""
    if bucket.is_url(name):
        if forbidden := forbidden_by(offline):
            raise DataError(f"{name}: {forbidden} forbids to read it")
        with tempfile.TemporaryDirectory() as folder:
            copy = bucket.read_url(name, Path(folder), DataError)
            return _one(config, str(copy), how, offline)
    path = Path(name)
    if config.labels_file is not None:
        labels = Path(config.labels_file)
        table = two_files.read_two(path, labels, how)
        both = f"{_sha256_of(path)}\0{_sha256_of(labels)}"
        return table, _sha256(both.encode())
    if path.is_dir():
        return read_folder(path, how)
    if name == STDIN:
        table = read_stdin(how)
        rows = json.dumps([table.texts, table.labels])  # the stream is gone by now
        return table, _sha256(rows.encode())
    packed, member = archive.member_of(path)
    sha256 = _sha256_of(packed)
    if member is not None:
        return archive.read_archive(path, how), _sha256(f"{sha256}\0{member}".encode())
    if sha256 == sms_spam.SMS_SHA256:  # the collection itself: no header, no suffix
        return read_sms(path.read_bytes(), book=config.book), sha256
    if suffixes(name)[0] == archive.SUFFIX:
        return archive.read_archive(path, how), sha256
    with open_raw(path) as stream:
        return read_stream(stream, name, how), sha256


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open_raw(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
