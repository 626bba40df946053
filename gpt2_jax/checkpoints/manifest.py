"""What makes a folder of orbax a checkpoint: a manifest, written last.

checkpoints/<step>/     the pytree, written by orbax's StandardCheckpointer
    manifest.json       format and its own hash, beside the fields of `Manifest`

A kill leaves no manifest or all of it. orbax keeps no checksum of array data, so that a
flipped bit would pass: `leaves` has the SHA-256 of each, `files` that of each file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt2_jax.errors import WeightsError
from gpt2_jax.storage import sealed as seals
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.storage.sealed import parse, sealed, unsealed

FORMAT = 2  # 1: orbax's CheckpointManager, hashes in an item of its own


MANIFEST, _SEAL = "manifest.json", "sha256"


class DamageError(WeightsError):
    """A checkpoint was saved whole, and is no longer."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds."""

    step: int
    score: float | None  # None: not a candidate for the best
    meta: Mapping[str, Any]
    run: str  # hash of what the run is; see `identity`
    shapes: Mapping[str, str]  # dtype and shape by path in the pytree
    leaves: Mapping[str, str]  # SHA-256 by path in the pytree
    files: Mapping[str, str]  # SHA-256 by path in the folder

    def write(self, folder: Path) -> None:
        """Write it so that it is there as a whole or not at all."""
        values = {"format": FORMAT, **dataclasses.asdict(self)}
        write_json(folder / MANIFEST, sealed(values, _SEAL))


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a step; None: there is none, it was never saved whole.

    Raises:
        DamageError: it is not as it was written.
        WeightsError: another version wrote it.
    """
    path = folder / MANIFEST
    if not path.exists():
        if (folder / "sha256").is_dir():
            raise WeightsError(
                f"{folder}: a checkpoint of format 1, this version reads {FORMAT}; "
                "finish the run with the version that began it, or use another "
                "--workdir"
            )
        return None
    try:
        values = parse(path.read_bytes())
        found = values["format"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DamageError(f"{path}: damaged ({error!r:.100})") from None
    if isinstance(found, int) and found > FORMAT:
        raise WeightsError(
            f"{folder}: a checkpoint of format {found}, this version reads {FORMAT}; "
            "resume with a newer gpt2-jax"
        )
    try:
        values = unsealed(values, _SEAL)
    except (KeyError, ValueError):
        raise DamageError(f"{path}: damaged (checksum mismatch)") from None
    del values["format"]
    return Manifest(**values)


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that orbax wrote into a step."""
    return seals.hash_files(folder, but=(MANIFEST,))
