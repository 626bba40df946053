"""JSON objects that other programs wrote; the last of two equal keys does not win."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt2_jax.errors import WeightsError

SUMS = "gpt2_jax.json"  # the hashes of a folder that we wrote


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of each file of a folder beside them."""
    sums = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    text = json.dumps(sealed({"sha256": sums}), indent=2) + "\n"
    (folder / SUMS).write_text(text, "utf-8")


def check_sums(folder: Path) -> None:
    """Compare a folder that we wrote with its hashes; folders of others have none.

    Raises:
        WeightsError: a file is not what was written.
    """
    if not (folder / SUMS).is_file():
        return
    expected = read_sealed(folder / SUMS).get("sha256")
    if not isinstance(expected, Mapping):
        raise WeightsError(f"{folder / SUMS}: damaged (no sha256); get it again")
    found = {path.name: path for path in folder.iterdir() if path.is_file()}
    for name, sha256 in expected.items():
        if name not in found or sha256_of(found[name]) != sha256:
            raise WeightsError(
                f"{folder / name}: damaged, or changed since {SUMS} was written; get "
                f"it again, or remove {SUMS} if you changed it yourself"
            )


SEAL = "json_sha256"  # in our own files: the hash of all the rest


MAX_BYTES = 10 << 20  # the header of the largest GPT-2 has 60 kB


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


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` and their hash, for `read_sealed` to notice a change."""
    return {**values, SEAL: digest(values)}


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what was `sealed`; older versions wrote without a seal.

    Raises:
        WeightsError: as `read_json`, or it was changed.
    """
    values = read_json(path)
    seal = values.pop(SEAL, None)
    if seal is not None and seal != digest(values):
        raise WeightsError(
            f"{path}: damaged, or changed by hand (its {SEAL} is of other values); get "
            "it again"
        )
    return values


def parse(content: bytes) -> dict[str, Any]:
    """Return the JSON object in `content`.

    Raises:
        ValueError: it is no JSON, or an object in it has one key twice.
        TypeError: it is JSON, but no object.
    """
    try:
        values = json.loads(content, object_pairs_hook=unique_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict):
        raise TypeError("expected a JSON object")
    return values


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; the last of two equal keys does not win.

    Raises:
        ValueError: a key is there twice.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = sorted(key for key, count in counts.items() if count > 1)
        raise ValueError(f"has twice: {', '.join(twice)}")
    return values
