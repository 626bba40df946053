"""JSON objects, and how a change of what we wrote is noticed later.

An object is sealed by the SHA-256 of the rest of it, under `SEAL`; an object that
stands for files holds theirs, {path: SHA-256} under `FILES`, and is sealed itself. That
is `SUMS` of an exported folder, classifier.json of a run, config.json of an orbax
folder and, with names of its own, the manifest of a checkpoint. A file that stands
alone carries its hash itself (`weights.safetensors.DIGEST`), and the cache of the hub
names files by theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gpt2_jax.errors import WeightsError
from gpt2_jax.storage.atomic import leftovers, write_json

SEAL = "json_sha256"  # the hash of all the rest of an object

FILES = "sha256"  # the hashes of the files that an object stands for

SUMS = "gpt2_jax.json"  # beside the files of a folder that we wrote for others

MAX_BYTES = 10 << 20  # the header of the largest GPT-2 has 60 kB

_THREADS = 4  # hashlib lets go of the interpreter


def parse(content: bytes | str) -> dict[str, Any]:
    """Return the JSON object in `content`; the last of two equal keys does not win.

    Raises:
        ValueError: it is no JSON, or an object in it has one key twice.
        TypeError: it is JSON, but no object.
    """
    try:
        values: object = json.loads(content, object_pairs_hook=unique_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict):
        raise TypeError("expected a JSON object")
    return values


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"has twice: {', '.join(twice)}")
    return values


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        WeightsError: no such file, too large, not a JSON object, or a key twice.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        return parse(content)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except TypeError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: not readable as JSON ({error})") from error


def digest(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def sealed(values: Mapping[str, Any], seal: str = SEAL) -> dict[str, Any]:
    """Return `values` and their hash, for `unsealed` to notice a change."""
    return {**values, seal: digest(values)}


def unsealed(values: Mapping[str, Any], seal: str = SEAL) -> dict[str, Any]:
    """Return what was `sealed`.

    Raises:
        KeyError: there is no seal.
        ValueError: it is of other values.
    """
    rest = {key: value for key, value in values.items() if key != seal}
    if values[seal] != digest(rest):
        raise ValueError(f"its {seal} is of other values")
    return rest


def read_sealed(path: Path) -> dict[str, Any]:
    """Read an object that was `sealed`; older versions wrote without a seal.

    Raises:
        WeightsError: as `read_json`, or it was changed.
    """
    values = read_json(path)
    try:
        return unsealed(values) if SEAL in values else values
    except ValueError as error:
        raise WeightsError(
            f"{path}: damaged, or changed by hand ({error}); get it again"
        ) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(
    folder: Path, *, only: Collection[str] | None = None, but: Collection[str] = ()
) -> dict[str, str]:
    """Return the SHA-256 of the files in and below `folder`, by their paths there."""
    half = {*leftovers(folder)}
    paths = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and half.isdisjoint((path, *path.parents))
    }
    names = [n for n in paths if n not in but and (only is None or n in only)]
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = pool.map(sha256_of, [paths[name] for name in names])
        return dict(zip(names, hashes, strict=True))


def check_files(
    folder: Path, sealed_by: Path, hashes: object, way: str, *, alone: bool = False
) -> None:
    """Compare the files of a folder with the hashes that `sealed_by` has of them.

    Args:
        way: what a user does about a file that was changed.
        alone: no other file may be in the folder.

    Raises:
        WeightsError: a file is not what was written.
    """
    if not isinstance(hashes, Mapping):
        raise WeightsError(f"{sealed_by}: damaged (no {FILES}); {way}")
    there = hash_files(folder, only=None if alone else hashes)
    for name in sorted({*hashes, *there}):
        expected, got = hashes.get(name), there.get(name)
        if None in (expected, got) or expected != got:
            raise WeightsError(
                f"{folder / name}: damaged, or changed since {sealed_by.name} was "
                f"written (SHA-256 expected {expected}, got {got}); {way}"
            )


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of each file of a folder beside them."""
    write_json(folder / SUMS, sealed({FILES: hash_files(folder, but=(SUMS,))}))


def check_sums(folder: Path) -> None:
    """Compare a folder that we wrote with its hashes; folders of others have none.

    Raises:
        WeightsError: a file is not what was written.
    """
    path = folder / SUMS
    if path.is_file():
        way = f"get it again, or remove {SUMS} if you changed it yourself"
        check_files(folder, path, read_sealed(path).get(FILES), way)
