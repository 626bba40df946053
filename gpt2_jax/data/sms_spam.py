"""The SMS Spam Collection: 5,574 messages, as the book uses it."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import zipfile
from pathlib import Path

from gpt2_jax.data.tables import Table
from gpt2_jax.errors import DataError
from gpt2_jax.storage.download import cache_dir, download
from gpt2_jax.storage.sealed import sha256_of

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


def load_sms(offline: bool, *, book: bool) -> tuple[Table, str]:
    """Return all messages and their SHA-256, from GPT2_JAX_DATA, cache or network."""
    return read_sms(_content(offline), book=book), SMS_SHA256


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


def _content(offline: bool) -> bytes:
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
    if not archive.is_file() or sha256_of(archive) != SMS_ZIP_SHA256:
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
    got = hashlib.sha256(content).hexdigest()
    if got != SMS_SHA256:
        raise DataError(
            f"{where}: not the SMS Spam Collection: SHA-256 expected {SMS_SHA256}, got "
            f"{got}; get it again from {SMS_URLS[0]}"
        )
    return content
