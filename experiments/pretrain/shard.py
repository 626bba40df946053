"""Text files to shards of tokens, which `train` packs into sequences.

    python -m experiments.pretrain.shard TEXTS... --output tokens

A .txt or .md file is one document, a line of a .jsonl file (its "text") is one; folders
are searched. Documents follow one another, each with an end-of-text token behind it.

    manifest.json        part -> its files, with tokens and SHA-256 of each
    train-00000.npy      uint16 [tokens]
    validation-00000.npy every N-th document
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.data import content
from gpt2_jax.data.entries import Entries
from gpt2_jax.data.lines import characters
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.rows import open_rows
from gpt2_jax.engine.sequences import Sequences
from gpt2_jax.errors import DataError, UserError
from gpt2_jax.storage.atomic import creating
from gpt2_jax.tokenizer import END_OF_TEXT, VOCAB_SIZE, encode

SUFFIXES = (".txt", ".md", ".jsonl")
PARTS = ("train", "validation")
MANIFEST = "manifest.json"
DTYPE = np.dtype("<u2")  # holds the 50,257 ids of GPT-2


def documents(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the documents of files and folders, in a fixed order.

    Raises:
        DataError: no such file, of another kind, empty, or not UTF-8.
    """
    for path in paths:
        if path.is_dir():
            found = (p for p in sorted(path.rglob("*")) if p.suffix in SUFFIXES)
            yield from documents(p for p in found if p.is_file() and p.stat().st_size)
        elif path.suffix == ".jsonl":
            how = Reading(text_column="text")
            with content.open_raw(path) as stream:
                rows = open_rows(stream, str(path), how, labelled=False)
                yield from (e.text for e in Entries(rows, how, labelled=False))
        elif path.suffix in SUFFIXES:
            with content.open_input(path) as stream:
                text = "".join(characters(stream, str(path)))
            if not text.strip():
                raise DataError(f"{path}: empty; expected a text")
            yield text
        else:
            raise DataError(f"{path}: expected a folder or {', '.join(SUFFIXES)}")


def write_shards(
    paths: Sequence[Path], output: Path, *, validation_every: int, shard_tokens: int
) -> dict[str, Any]:
    """Write `output`, which must not exist; return its manifest.

    A shard ends with the document that fills it to `shard_tokens`.

    Raises:
        DataError: a text cannot be read, or a part has no documents.
    """
    pieces: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    files: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    count = 0
    with creating(output) as folder:
        folder.mkdir()

        def flush(part: str) -> None:
            tokens = np.concatenate(pieces[part])
            pieces[part].clear()
            path = folder / f"{part}-{len(files[part]):05d}.npy"
            np.save(path, tokens)
            files[part].append(
                {"file": path.name, "tokens": len(tokens), "sha256": _sha256(path)}
            )

        for text in documents(paths):
            if not text.strip():
                continue
            count += 1
            part = "train" if count % validation_every else "validation"
            pieces[part].append(np.asarray([*encode(text), END_OF_TEXT], DTYPE))
            if sum(map(len, pieces[part])) >= shard_tokens:
                flush(part)
        for part in PARTS:
            if pieces[part]:
                flush(part)
            if not files[part]:
                raise DataError(
                    f"{count} documents, none for {part}; give more texts or a smaller "
                    "--validation-every"
                )
        manifest = {"vocab_size": VOCAB_SIZE, "documents": count, "parts": files}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return manifest


def read_sequences(folder: Path, part: str, length: int) -> Sequences:
    """Map the shards of `part` into memory.

    Raises:
        DataError: they are not there, not as they were written, or too short.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder / MANIFEST}: cannot be read ({error}); make it with python "
            "-m experiments.pretrain.shard"
        ) from None
    shards = []
    for file in manifest["parts"][part]:
        path = folder / file["file"]
        if not path.is_file() or _sha256(path) != file["sha256"]:
            raise DataError(f"{path}: missing or damaged; make the shards again")
        shards.append(np.load(path, mmap_mode="r"))
    found = Sequences(tuple(shards), length)
    if not len(found):
        raise DataError(
            f"{folder}: no {part} shard has {length + 1} tokens; give more texts "
            "or a smaller --length"
        )
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("texts", type=Path, nargs="+", metavar="TEXTS")
    add("--output", type=Path, required=True, metavar="DIR")
    add("--validation-every", type=int, default=100, metavar="N")
    add("--shard-tokens", type=int, default=1 << 26, metavar="N")
    arguments = parser.parse_args()
    try:
        manifest = write_shards(
            arguments.texts,
            arguments.output,
            validation_every=arguments.validation_every,
            shard_tokens=arguments.shard_tokens,
        )
    except UserError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    for part, files in manifest["parts"].items():
        tokens = sum(file["tokens"] for file in files)
        print(f"{part}: {tokens:,} tokens in {len(files)} shards")


if __name__ == "__main__":
    main()
