"""A .zip as Kaggle serves it: its files, read without unpacking to the disk."""

from __future__ import annotations

import contextlib
import io
import shlex
import zipfile
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from gpt2_jax.data import content
from gpt2_jax.data.checks import shortened
from gpt2_jax.data.classes import class_files, is_hidden, read_classes
from gpt2_jax.data.join import (
    choose_files,
    join,
    part_of_file,
    read_labelled_ones,
)
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.rows import is_plain, kind_of
from gpt2_jax.data.tables import Table, read_stream
from gpt2_jax.errors import DataError

SUFFIX = ".zip"

MAX_MEMBERS = 100_000


def member_of(path: Path) -> tuple[Path, str | None]:
    """Return the archive of `a.zip/deep/b.csv` and "deep/b.csv"; else `path`, None."""
    for parent in path.parents:
        if parent.suffix.lower() == SUFFIX and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return path, None


def read_archive(path: Path, how: Reading) -> Table:
    """Read the tables of an archive: one, or those named after the parts of a split.

    Where it has none it may hold a folder for each class, or files as `train.txt`. A
    table without labels is left out beside labelled ones. Names are never paths:
    `a.zip/b.csv` is the file b.csv in the archive.

    Raises:
        DataError: it is damaged, locked, unpacks to too much, or holds no table or
            several that are no parts.
    """
    path, member = member_of(path)
    with (
        content.open_raw(path) as stream,
        _errors(str(path)),
        zipfile.ZipFile(stream) as archive,
    ):
        return _read(path, archive, member, how)


@contextlib.contextmanager
def only_table(
    stream: Any, name: str, member: str | None = None
) -> Generator[tuple[Any, str]]:
    """Open the only table of an archive, or `member` of it; yield it and its name.

    Raises:
        DataError: as `read_archive`, or there are several.
    """
    with _errors(name), zipfile.ZipFile(stream) as archive:
        members = _tables(name, archive, member)
        if len(members) > 1:
            raise _several(name, members)
        with archive.open(members[0]) as table:
            yield _seekable(table, members[0]), f"{name}/{members[0].filename}"


@contextlib.contextmanager
def _errors(name: str) -> Generator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"{name}: damaged or no .zip ({error}); get it again") from None


def _members(name: str, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files that may be read; the limits are those of all of them."""
    if len(archive.infolist()) > MAX_MEMBERS:
        raise DataError(f"{name}: more than {MAX_MEMBERS:,} files; unzip it")
    members = [
        m for m in archive.infolist() if not m.is_dir() and not is_hidden(m.filename)
    ]
    return [m for m in members if kind_of(m.filename) or is_plain(m.filename)]


def _tables(
    name: str, archive: zipfile.ZipFile, wanted: str | None
) -> list[zipfile.ZipInfo]:
    members = _members(name, archive)
    if wanted is None:
        tables = [m for m in members if kind_of(m.filename)] or members
    else:
        tables = [m for m in members if m.filename == wanted]
    if not tables and members:
        raise DataError(f"{name}: no table {wanted} in it; there are {_names(members)}")
    if not tables:
        raise DataError(f"{name}: no table in it (.csv, .tsv, .jsonl, .parquet, .txt)")
    _check(name, tables)
    return tables


def _check(name: str, members: Sequence[zipfile.ZipInfo]) -> None:
    if any(member.flag_bits & 1 for member in members):
        raise DataError(f"{name}: locked with a password; unzip it")
    if sum(member.file_size for member in members) > content.MAX_BYTES:
        raise DataError(
            f"{name}: unpacks to more than {content.MAX_BYTES / 1e9:.1f} GB; unzip it "
            "and name the files themselves"
        )


def _names(members: list[zipfile.ZipInfo]) -> str:
    return shortened([member.filename for member in members])


def _several(name: str, members: list[zipfile.ZipInfo]) -> DataError:
    return DataError(
        f"{name}: several tables ({_names(members)}); name one, as "
        f"{shlex.quote(f'{name}/{members[0].filename}')}"
    )


def _read(
    path: Path, archive: zipfile.ZipFile, wanted: str | None, how: Reading
) -> Table:
    members = _tables(str(path), archive, wanted)
    names = [member.filename for member in members]
    # Kaggle's sample_submission.csv and the like are no part.
    files, notes = choose_files(str(path), list(zip(names, members, strict=True)))
    found = class_files(names)
    plain = [f for f in found if part_of_file(PurePosixPath(f.name).name) is None]
    one = len({file.label for file in found}) == 1  # as the folder of train.txt is
    if len(plain) > 1 and not (one and files[0][0]):
        everything = [m.filename for m in archive.infolist() if not m.is_dir()]
        return read_classes(str(path), found, everything, archive.open, how)

    def read(member: zipfile.ZipInfo) -> Table:
        with archive.open(member) as stream:
            return read_stream(
                _seekable(stream, member), f"{path}/{member.filename}", how
            )

    several = files[0][0] is None and len(files) > 1
    try:
        tables = read_labelled_ones(files, read, notes)
    except DataError as error:
        if not several:
            raise
        # Both at once, so that the next command is right.
        raise DataError(f"{error}. Besides, {_several(str(path), members)}") from None
    if several and len(tables) > 1:
        raise _several(str(path), members)
    if len(tables) == 1:  # its parts, if any, are its own
        return tables[0][1]
    return join(str(path), tables)


def _seekable(stream: Any, member: zipfile.ZipInfo) -> Any:
    """Return a stream that Parquet and Excel can seek in, held in memory."""
    if kind_of(member.filename) in (".parquet", ".arrow", ".xlsx"):
        return io.BytesIO(stream.read())
    return stream
