"""A folder as a dataset: `datasets.save_to_disk`, a file a part, a folder a class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from gpt2_jax.data.classes import ClassFile, class_files, is_hidden, read_classes
from gpt2_jax.data.content import open_raw
from gpt2_jax.data.join import choose_files, join, read_labelled_ones
from gpt2_jax.data.parts import PARTS, part_of
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.rows import is_plain, kind_of
from gpt2_jax.data.tables import Table, read_stream
from gpt2_jax.data.two_files import pair_flags
from gpt2_jax.errors import DataError


def read_folder(folder: Path, how: Reading) -> tuple[Table, str]:
    """Read a folder; return its table, with the part of each row, and a SHA-256.

    Hugging Face's own layouts: `save_to_disk` of a DatasetDict or a Dataset; else files
    named after the part, as `train.csv` or `data/train-00000-of-00001.parquet`; else a
    folder for each class with a text in each file; else files as `train.txt`, which
    are known by their content.

    Raises:
        DataError: it holds none of these, or more than one kind of file for a part.
    """
    files, notes = _saved_files(folder), list[str]()
    if not files:
        files, notes = _named_files(folder, kind_of)
    names = [] if files else _names(folder)
    found = class_files(names)
    if not files and len({file.label for file in found}) < 2:  # data/train.txt is none
        files, notes = _named_files(folder, is_plain)
        if flags := pair_flags(folder):
            raise DataError(f"{folder}: texts and labels in two files; say {flags}")
    if found and not files:
        table = read_classes(
            str(folder), found, names, lambda name: open_raw(folder / name), how
        )
        return table, _sha256_of(found, table)
    if not files:
        raise DataError(
            f"{folder}: no dataset; expected train, validation and test files (.csv, "
            ".tsv, .jsonl, .parquet, .txt), what datasets.save_to_disk wrote, a folder "
            "of .txt files for each class; texts and labels in two files are named "
            "with --data and --labels-file"
        )
    digest = hashlib.sha256()
    for part, path in files:
        digest.update(
            f"{part}\0{hashlib.sha256(path.read_bytes()).hexdigest()}".encode()
        )

    def read(path: Path) -> Table:
        with open_raw(path) as stream:
            return read_stream(stream, str(path), how)

    named = [(part, path.name, path) for part, path in files]
    table = join(str(folder), read_labelled_ones(named, read, notes))
    return table, digest.hexdigest()


def _names(folder: Path) -> list[str]:
    """Return the files in it, at any depth, as they are named in an archive of it."""
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    return [name for name in found if not is_hidden(name) and (folder / name).is_file()]


def _sha256_of(files: Sequence[ClassFile], table: Table) -> str:
    digest = hashlib.sha256()
    for file, text in zip(files, table.texts, strict=True):
        name = PurePosixPath(file.name).name
        digest.update(json.dumps([file.part, file.label, name, text]).encode())
    return digest.hexdigest()


def _saved_files(folder: Path) -> list[tuple[str | None, Path]]:
    """Return the Arrow files of `save_to_disk`; none where it did not write this."""
    if not (folder / "dataset_dict.json").is_file():
        return [(None, path) for path in _arrow_files(folder)]
    splits = _read_json(folder / "dataset_dict.json").get("splits", [])
    unknown = [name for name in splits if part_of(name) is None]
    if unknown:
        raise DataError(
            f"{folder}: the split {unknown[0]!r} is none of {', '.join(PARTS)}; give "
            f"one alone, as {folder / unknown[0]}"
        )
    return [
        (part_of(name), path) for name in splits for path in _arrow_files(folder / name)
    ]


def _arrow_files(folder: Path) -> list[Path]:
    if not (folder / "state.json").is_file():
        return []
    state = _read_json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(
            f"{folder}: saved with a selection of its rows beside it; call "
            "flatten_indices() and save_to_disk again"
        )
    return [folder / file["filename"] for file in state["_data_files"]]


def _named_files(
    folder: Path, wanted: Callable[[str], object]
) -> tuple[list[tuple[str | None, Path]], list[str]]:
    """Return the files that are named after parts, and a note on others of the kind."""
    paths = sorted([*folder.glob("*"), *folder.glob("data/*")])
    tables = [
        (str(path.relative_to(folder)), path)
        for path in paths
        if wanted(path.name) and path.is_file() and not is_hidden(path.name)
    ]
    found, notes = choose_files(str(folder), tables)
    return [(part, path) for part, _, path in found if part is not None], notes


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from None
