"""A folder for each class with a text in each file, on a disk or in an archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from gpt2_jax.data.checks import shortened as names_of
from gpt2_jax.data.lines import characters
from gpt2_jax.data.parts import part_of
from gpt2_jax.data.reading import Form, Reading, Understood, count_labels, shortened
from gpt2_jax.data.tables import Table

_SUFFIXES = (".txt", ".text", "")  # 20 Newsgroups names its files by numbers


class ClassFile(NamedTuple):
    """A file that holds one text."""

    part: str | None  # of a split
    label: str
    name: str


def is_hidden(name: str) -> bool:
    """Is it what systems leave beside files, or a path out of the archive?"""
    return any(p.startswith((".", "__MACOSX")) for p in PurePosixPath(name).parts)


def class_files(names: Iterable[str]) -> list[ClassFile]:
    """Return those of `names` that are LABEL/x.txt or train/LABEL/x.txt, sorted.

    Folders that hold all of them may stand above, as in `bbc/sport/001.txt`.
    """
    split = {
        name: PurePosixPath(name).parts
        for name in names
        if PurePosixPath(name).suffix.lower() in _SUFFIXES and not is_hidden(name)
    }
    split = {name: path for name, path in split.items() if len(path) > 1}
    tops = {path[0] for path in split.values()}
    while len(tops) == 1 and part_of(*tops) is None:
        below = {name: path[1:] for name, path in split.items() if len(path) > 2}
        if not below:
            break
        split, tops = below, {path[0] for path in below.values()}
    parts = bool(tops) and all(part_of(top) for top in tops)
    return sorted(
        ClassFile(part_of(path[0]) if parts else None, path[-2], name)
        for name, path in split.items()
        if len(path) == 2 + parts
    )


def read_classes(
    where: str,
    files: Sequence[ClassFile],
    names: Iterable[str],
    opened: Callable[[str], AbstractContextManager[Any]],
    how: Reading,
) -> Table:
    """Read the texts of `files`; of all `names`, those left out are told.

    Raises:
        DataError: one cannot be read.
    """
    texts = []
    for file in files:
        with opened(file.name) as stream:
            pieces = characters(
                stream, f"{where}/{file.name}", how.encoding, how.encoding_errors
            )
            texts.append("".join(pieces).removesuffix("\n").removesuffix("\r"))
    known = {file.name for file in files}
    others = sorted(n for n in names if n not in known and not is_hidden(n))
    labels = tuple(file.label for file in files)
    parts = tuple(file.part or "" for file in files)
    first = PurePosixPath(files[0].name).name
    return Table(
        texts=tuple(texts),
        labels=labels,
        notes=(f"left out, as no .txt of a class: {names_of(others)}",) * bool(others),
        parts=parts if all(parts) else None,
        understood=Understood(
            name=where,
            form=Form("folders", encoding=how.encoding),
            columns=(("text", first, shortened(texts[0])),),
            labels=count_labels(labels),
        ),
    )
