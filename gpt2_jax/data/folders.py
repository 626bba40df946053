"""A folder as a dataset: `datasets.save_to_disk`, a file a part, a folder a class."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from gpt2_jax.data.checks import shortened as names_of
from gpt2_jax.data.content import open_raw
from gpt2_jax.data.join import choose_files, join, read_labelled_ones
from gpt2_jax.data.lines import characters
from gpt2_jax.data.parts import PARTS, part_of
from gpt2_jax.data.reading import Form, Reading, Understood, count_labels, shortened
from gpt2_jax.data.rows import kind_of
from gpt2_jax.data.tables import Table, read_stream
from gpt2_jax.errors import DataError


def read_folder(folder: Path, how: Reading) -> tuple[Table, str]:
    """Read a folder; return its table, with the part of each row, and a SHA-256.

    Hugging Face's own layouts: `save_to_disk` of a DatasetDict or a Dataset; else files
    named after the part, as `train.csv` or `data/train-00000-of-00001.parquet`; else a
    folder for each class with a text in each file.

    Raises:
        DataError: it holds none of these, or more than one kind of file for a part.
    """
    files, notes = _saved_files(folder), list[str]()
    if not files:
        files, notes = _named_files(folder)
    if not files and (found := _class_files(folder)):
        return _read_classes(folder, found, how)
    if not files:
        raise DataError(
            f"{folder}: no dataset; expected train, validation and test files (.csv, "
            ".tsv, .jsonl, .parquet), what datasets.save_to_disk wrote, a folder of "
            ".txt files for each class; texts and labels in two files are named with "
            "--data and --labels-file"
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


def _class_files(folder: Path) -> list[tuple[str | None, str, Path]]:
    """Return (part, label, file) of `LABEL/x.txt`, or of `train/LABEL/x.txt`."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    if inside and all(part_of(path.name) for path in inside):
        return [
            (part_of(part.name), label, path)
            for part in inside
            for _, label, path in _class_files(part)
        ]
    return [
        (None, label.name, path)
        for label in inside
        for path in sorted(label.glob("*"))
        if path.suffix.lower() == ".txt" and path.is_file()
    ]


def _read_classes(
    folder: Path, files: list[tuple[str | None, str, Path]], how: Reading
) -> tuple[Table, str]:
    digest = hashlib.sha256()
    texts = []
    for part, label, path in files:
        with open_raw(path) as stream:
            text = "".join(
                characters(stream, str(path), how.encoding, how.encoding_errors)
            )
        texts.append(text.removesuffix("\n").removesuffix("\r"))
        digest.update(json.dumps([part, label, path.name, text]).encode())
    known = {path for _, _, path in files}
    inside = [p for p in folder.glob("*/**/*") if p.is_file() and p not in known]
    others = sorted(str(p.relative_to(folder)) for p in inside if p.name[0] != ".")
    labels = tuple(label for _, label, _ in files)
    parts = tuple(part or "" for part, _, _ in files)
    understood = Understood(
        name=str(folder),
        form=Form("folders", encoding=how.encoding),
        columns=(("text", files[0][2].name, shortened(texts[0])),),
        labels=count_labels(labels),
    )
    table = Table(
        texts=tuple(texts),
        labels=labels,
        notes=(f"left out, as no .txt of a class: {names_of(others)}",) * bool(others),
        parts=parts if all(parts) else None,
        understood=understood,
    )
    return table, digest.hexdigest()


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


def _named_files(folder: Path) -> tuple[list[tuple[str | None, Path]], list[str]]:
    """Return the files that are named after parts, and a note on other tables."""
    paths = sorted([*folder.glob("*"), *folder.glob("data/*")])
    tables = [
        (str(path.relative_to(folder)), path)
        for path in paths
        if kind_of(path.name) is not None and path.is_file()
    ]
    found, notes = choose_files(str(folder), tables)
    return [(part, path) for part, _, path in found if part is not None], notes


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from None
