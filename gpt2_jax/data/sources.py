"""Named datasets and files -> one `Dataset`."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import importlib.resources
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from gpt2_jax.config import DataConfig
from gpt2_jax.data import checks
from gpt2_jax.data.content import STDIN
from gpt2_jax.data.folders import PARTS, part_of, read_folder
from gpt2_jax.data.imdb import load_imdb
from gpt2_jax.data.labels import label_table, order_classes
from gpt2_jax.data.tables import Table, read_table
from gpt2_jax.errors import DataError
from gpt2_jax.storage import bucket
from gpt2_jax.storage.download import cache_dir, download, forbidden_by

# UCI 228, SMS Spam Collection v.1 (Almeida, Gómez Hidalgo, Yamakami, DocEng 2011).
SMS_URLS = (
    "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
    "https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip",
)


SMS_ZIP_SHA256 = "1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3"


SMS_ZIP_BYTES = 203_415


SMS_MEMBER = "SMSSpamCollection"


SMS_SHA256 = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"


SMS_BYTES = 477_907


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Labelled texts with a fingerprint."""

    name: str
    sha256: str  # of the file that was read
    texts: tuple[str, ...]
    labels: tuple[int, ...]  # indices into `classes`
    classes: tuple[str, ...]  # label names, in order
    groups: tuple[str, ...] | None
    notes: tuple[str, ...]
    parts: tuple[str, ...] | None = None  # of each text, where the split is given
    understood: str = ""  # how a file was read


def load_dataset(
    config: DataConfig,
    *,
    to_train: bool = True,
    offline: bool = False,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Load what `config.source` names; `offline` forbids the network.

    `classes` is the order of them that a run keeps; see `order_classes`.

    Raises:
        DataError: it cannot be had or read; or, to train on it, it has fewer than two
            classes, or rare ones.
    """
    source = str(config.source)
    if source == "demo":
        asset = importlib.resources.files("gpt2_jax") / "assets" / "demo.jsonl"
        with importlib.resources.as_file(asset) as path:
            table = read_table(path, group_column="family")
            sha256 = _sha256(path.read_bytes())
        table = dataclasses.replace(table, understood="")  # no file of the user's
    elif source == "sms-spam":
        content = _sms_content(offline)
        table, sha256 = read_sms(content, book=config.book), SMS_SHA256
    elif source == "imdb":
        table, sha256 = load_imdb(offline)
    else:
        try:
            table, sha256 = _own_table(config, offline)
        except OSError as error:
            raise DataError(
                f"{config.source}: cannot be read ({error.strerror})"
            ) from error
    table = label_table(source, table, config, to_train=to_train)
    return _dataset(source, sha256, table, classes)


def _own_table(config: DataConfig, offline: bool) -> tuple[Table, str]:
    """Read the user's file, folder or standard input; return its SHA-256 too."""
    source = str(config.source)
    if bucket.is_url(source):
        if forbidden := forbidden_by(offline):
            raise DataError(f"{source}: {forbidden} forbids to read it")
        with tempfile.TemporaryDirectory() as folder:
            copy = bucket.read_url(source, Path(folder), DataError)
            return _own_table(dataclasses.replace(config, source=str(copy)), offline)
    path = Path(source)
    columns = {
        "text_column": config.text_column or "text",
        "label_column": config.label_column or "label",
        "group_column": config.group_column,
        "split_column": config.split_column,
        "encoding": config.encoding,
    }
    if path.is_dir():
        return read_folder(path, **columns)
    if source == STDIN:
        table = read_table(path, **columns)
        rows = json.dumps([table.texts, table.labels])  # the stream is gone by now
        return table, _sha256(rows.encode())
    content = path.read_bytes() if path.is_file() else b""
    sha256 = _sha256(content)
    if sha256 == SMS_SHA256:  # the collection itself: no header, no suffix
        return read_sms(content, book=config.book), sha256
    return read_table(path, **columns), sha256


def read_sms(content: bytes, *, book: bool) -> Table:
    """Read the collection: all 5,574 messages, or the book's 5,572.

    The book reads it with pandas' default quoting, where a `"` that opens a message
    swallows what follows; `book` repeats that, to get its rows.
    """
    text = content.decode("utf-8")
    if book:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t")
        rows = [(fields[0], fields[1]) for fields in reader]
    else:
        rows = [
            (label, message)
            for label, message in (line.split("\t") for line in text.splitlines())
        ]
    labels, texts = zip(*rows, strict=True)
    return Table(tuple(texts), tuple(labels))


def _dataset(
    name: str, sha256: str, table: Table, stored: Sequence[str] | None
) -> Dataset:
    classes = order_classes(table.labels, stored)
    index = {label: i for i, label in enumerate(classes)}
    labels = tuple(index[label] for label in table.labels)
    found = checks.near_duplicate_labels(classes)
    found += checks.conflicting_texts(table.texts, labels)
    return Dataset(
        name=name,
        sha256=sha256,
        texts=table.texts,
        labels=labels,
        classes=classes,
        groups=table.groups,
        notes=(*table.notes, *found),
        parts=_known_parts(name, table.parts),
        understood=table.understood,
    )


def _known_parts(name: str, given: Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    unknown = sorted({part for part in given if part_of(part) is None})
    if unknown:
        raise DataError(
            f"{name}: the split of a text is {unknown[0]!r}; expected "
            f"{', '.join(PARTS)} in the column of --split-column"
        )
    return tuple(part_of(part) or "" for part in given)


def _sms_content(offline: bool) -> bytes:
    """Return the checked member, from GPT2_JAX_DATA, the cache or the network."""
    if folder := os.environ.get("GPT2_JAX_DATA"):
        path = Path(folder) / SMS_MEMBER
        if not path.is_file():
            raise DataError(
                f"{path}: no such file; GPT2_JAX_DATA must name the folder that holds "
                f"{SMS_MEMBER}, or be unset to download it"
            )
        return _checked(path.read_bytes(), path)
    archive = cache_dir() / "sms-spam.zip"
    if not archive.is_file() or _sha256(archive.read_bytes()) != SMS_ZIP_SHA256:
        download(
            SMS_URLS,
            archive,
            sha256=SMS_ZIP_SHA256,
            max_bytes=SMS_ZIP_BYTES,
            error=DataError,
            offline=offline,
        )
    with zipfile.ZipFile(archive) as file, file.open(SMS_MEMBER) as member:
        # One byte more than expected is enough to see that a member lies.
        return _checked(member.read(SMS_BYTES + 1), archive)


def _checked(content: bytes, where: Path) -> bytes:
    got = _sha256(content)
    if got != SMS_SHA256:
        raise DataError(
            f"{where}: not the SMS Spam Collection: SHA-256 expected {SMS_SHA256}, got "
            f"{got}; get it again from {SMS_URLS[0]}"
        )
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
