"""A folder as a dataset: what `datasets.save_to_disk` wrote, or a file per part."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from gpt2_jax.data.tables import Table, kind_of, read_table
from gpt2_jax.errors import DataError

PARTS = ("train", "validation", "test")


_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def part_of(name: str) -> str | None:
    """Return which part of a split `name` means; None: none that is known."""
    return _NAMES.get(name.strip().lower())


def read_folder(folder: Path, **columns: Any) -> tuple[Table, str]:
    """Read a folder; return its table, with the part of each row, and a SHA-256.

    Hugging Face's own layouts: `save_to_disk` of a DatasetDict or a Dataset; else files
    named after the part, as `train.csv` or `data/train-00000-of-00001.parquet`.

    Raises:
        DataError: it holds none of these, or more than one kind of file for a part.
    """
    files = _saved_files(folder) or _named_files(folder)
    digest = hashlib.sha256()
    tables: list[tuple[str | None, Table]] = []
    for part, path in files:
        digest.update(
            f"{part}\0{hashlib.sha256(path.read_bytes()).hexdigest()}".encode()
        )
        tables.append((part, read_table(path, **columns)))
    return _join(folder, tables), digest.hexdigest()


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


def _named_files(folder: Path) -> list[tuple[str | None, Path]]:
    found: list[tuple[str | None, Path]] = []
    for path in sorted([*folder.glob("*"), *folder.glob("data/*")]):
        part = part_of(re.split(r"[-_.]", path.name)[0])
        if part is not None and kind_of(path) is not None and path.is_file():
            found.append((part, path))
    if not found:
        raise DataError(
            f"{folder}: no dataset; expected train, validation and test files (.csv, "
            ".tsv, .jsonl, .parquet), or what datasets.save_to_disk wrote"
        )
    for part in PARTS:
        kinds = sorted({kind_of(path) or "" for name, path in found if name == part})
        if len(kinds) > 1:
            raise DataError(
                f"{folder}: the {part} part is there as {' and '.join(kinds)}; keep one"
            )
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from None


def _join(folder: Path, tables: list[tuple[str | None, Table]]) -> Table:
    texts, labels, groups, parts, notes, own = [], [], [], [], [], []
    for part, table in tables:
        texts += table.texts
        labels += table.labels
        groups += table.groups or ()
        parts += [part] * len(table.texts)
        notes += table.notes
        own += table.parts or ()
    named = tables[0][0] is not None
    if named and own:
        raise DataError(f"{folder}: its files are a split; leave --split-column away")
    understood = tables[0][1].understood
    if len(tables) > 1:
        understood += f"; and {len(tables) - 1} more files like it"
    return Table(
        texts=tuple(texts),
        labels=tuple(labels),
        groups=tuple(groups) or None,
        notes=tuple(notes),
        parts=tuple(parts) if named else tuple(own) or None,
        understood=understood,
    )
