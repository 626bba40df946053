"""IMDb: 50,000 labelled film reviews with a given split, from the archive or a copy.

Source: Maas, Daly, Pham, Huang, Ng, Potts, "Learning Word Vectors for Sentiment
Analysis", ACL 2011.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from gpt2_jax.data.folders import read_folder
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.tables import Table
from gpt2_jax.errors import DataError
from gpt2_jax.storage.download import cache_dir, download
from gpt2_jax.storage.sealed import sha256_of

URLS = ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",)


# Stanford states no hash; public projects in several languages agree on this one.
SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"

BYTES = 84_125_825


ARCHIVE, FOLDER, COPY = "aclImdb_v1.tar.gz", "aclImdb", "imdb"


EACH = 12_500  # reviews of each class in each part

MAX_REVIEW = 1 << 20  # bytes; the longest has 14 kB

MAX_MEMBER = 256 << 20  # of what is read over: a hostile one would unpack for ever

_KINDS = [(part, label) for part in ("test", "train") for label in ("pos", "neg")]

_MEMBER = re.compile(rf"{FOLDER}/(train|test)/(pos|neg)/\d+_\d+\.txt")


def load_imdb(offline: bool) -> tuple[Table, str]:
    """Return all reviews and their SHA-256, from GPT2_JAX_DATA, cache or network.

    GPT2_JAX_DATA names a folder that holds the archive, its unpacked `aclImdb`, or
    `imdb` with a train and a test file (as .jsonl.xz).

    Raises:
        DataError: they cannot be had, or are damaged or not all there.
    """
    if not (folder := os.environ.get("GPT2_JAX_DATA")):
        return _from_archive(_downloaded(offline))
    archive, unpacked, copy = (Path(folder) / name for name in (ARCHIVE, FOLDER, COPY))
    if archive.is_file():
        return _from_archive(archive)
    if unpacked.is_dir():
        table = _table(unpacked, dict(_files(unpacked)))
        rows = json.dumps([table.texts, table.labels, table.parts])
        return table, hashlib.sha256(rows.encode()).hexdigest()
    if copy.is_dir():
        table, sha256 = read_folder(copy, Reading())
        _check_counts(copy, table)
        return table, sha256
    raise DataError(
        f"{folder}: no {ARCHIVE}, {FOLDER} or {COPY} in it; GPT2_JAX_DATA must name "
        "the folder that holds one of them, or be unset to download it"
    )


def _downloaded(offline: bool) -> Path:
    archive = cache_dir() / ARCHIVE
    if not archive.is_file() or sha256_of(archive) != SHA256:
        download(
            URLS,
            archive,
            sha256=SHA256,
            max_bytes=BYTES,
            error=DataError,
            offline=offline,
        )
    return archive


def _from_archive(archive: Path) -> tuple[Table, str]:
    got = sha256_of(archive)
    if got != SHA256:
        raise DataError(
            f"{archive}: not the archive of IMDb reviews: SHA-256 expected {SHA256}, "
            f"got {got}; get it again from {URLS[0]}"
        )
    return _table(archive, read_members(archive)), got


def read_members(archive: Path) -> dict[str, bytes]:
    """Return the labelled reviews by name; nothing is unpacked to the disk.

    Only regular files with the name of a review are looked at: links, devices and
    paths that lead elsewhere are none.

    Raises:
        DataError: it is no whole archive, or a member is absurdly large or there twice.
    """
    found: dict[str, bytes] = {}
    try:
        # Not "r|gz": tarfile's own reader takes an archive that was cut off for whole.
        with gzip.open(archive) as raw, tarfile.open(fileobj=raw, mode="r|") as tar:
            for member in tar:
                wanted = member.isreg() and _MEMBER.fullmatch(member.name)
                if member.size > (MAX_REVIEW if wanted else MAX_MEMBER):
                    raise DataError(f"{archive}: {member.name!r} has {member.size} B")
                if not wanted:
                    continue
                if member.name in found:
                    raise DataError(f"{archive}: {member.name!r} is in it twice")
                content = tar.extractfile(member)
                assert content is not None  # a regular file
                found[member.name] = content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{archive}: damaged or no .tar.gz ({error}); get it again from {URLS[0]}"
        ) from None
    return found


def _files(unpacked: Path) -> Iterator[tuple[str, bytes]]:
    for part, label in _KINDS:
        for path in (unpacked / part / label).glob("*.txt"):
            name = f"{FOLDER}/{part}/{label}/{path.name}"
            if _MEMBER.fullmatch(name) and path.stat().st_size <= MAX_REVIEW:
                yield name, path.read_bytes()


def _table(where: Path, reviews: dict[str, bytes]) -> Table:
    """Return the reviews in the order of chapter 6, part 3: by kind, then by name."""
    texts, labels, parts = [], [], []
    for part, label in _KINDS:
        start = f"{FOLDER}/{part}/{label}/"
        for name in sorted(name for name in reviews if name.startswith(start)):
            try:
                texts.append(reviews[name].decode("utf-8"))
            except UnicodeDecodeError as error:
                raise DataError(f"{where}: {name} is not UTF-8 ({error})") from None
            labels.append(label)
            parts.append(part)
    table = Table(tuple(texts), tuple(labels), parts=tuple(parts))
    _check_counts(where, table)
    return table


def _check_counts(where: Path, table: Table) -> None:
    counts = Counter(zip(table.parts or (), table.labels, strict=True))
    for part, label in _KINDS:
        if counts[part, label] != EACH:
            raise DataError(
                f"{where}: {counts[part, label]} reviews in {part}/{label}, expected "
                f"{EACH}; get it again from {URLS[0]}"
            )
