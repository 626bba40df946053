"""The folders of a run's checkpoints: which are valid, which are in the way."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpt2_jax.checkpoints.manifest import MANIFEST, DamageError, Manifest, read_manifest
from gpt2_jax.errors import WeightsError
from gpt2_jax.storage import atomic

log = logging.getLogger(__name__)

_ORBAX_TMP = ".orbax-checkpoint-tmp"

DAMAGED = ".damaged"  # what `set_aside` ends a name with,

REMOVED = ".removed"  # and `remove`, while it is at it


def find_steps(folder: Path) -> dict[int, Manifest | DamageError]:
    """Return what each saved step says of itself, the newest first.

    What was not saved whole, and what is no checkpoint, is left out with a warning.

    Raises:
        WeightsError: another version wrote one.
    """
    found: dict[int, Manifest | DamageError] = {}
    for path, step in _numbered(folder):
        try:
            manifest = read_manifest(path)
        except DamageError as error:
            found[step] = error
            continue
        if manifest is None:
            log.warning("%s: skipped; %s", path, _describe(path))
        else:
            found[step] = manifest
    return dict(sorted(found.items(), reverse=True))


def _numbered(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.isascii() and path.name.isdigit():
            yield path, int(path.name)


def _valid(folder: Path) -> Iterator[tuple[Manifest, int]]:
    for path, step in _numbered(folder):
        with contextlib.suppress(WeightsError):
            if (manifest := read_manifest(path)) is not None:
                yield manifest, step


def _describe(path: Path) -> str:
    if not path.is_dir():
        return "a file, no checkpoint"
    if not any(path.iterdir()):
        return "an empty folder, no checkpoint"
    return "it has no manifest: its save was cut short"


def remove_leftovers(workdir: Path) -> None:
    """Remove what a killed process of this run was writing."""
    leftovers = [
        *workdir.glob(f"checkpoints/*{_ORBAX_TMP}*"),
        *workdir.glob(f"checkpoints/*{REMOVED}"),
        *(
            path
            for folder in (workdir, *workdir.glob("checkpoints/*"), workdir / "model")
            for path in atomic.leftovers(folder)
        ),
    ]
    for path in leftovers:
        log.info("%s: removed, what an earlier process left half written", path)
        remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder under another name: no half of it is a step."""
    if path.is_dir() and not path.is_symlink():
        if path.suffix != REMOVED:
            path = path.rename(path.with_name(path.name + REMOVED))
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_attempt(path: Path) -> None:
    """Remove what a save of step folder `path` that failed has written."""
    for attempt in [path, *path.parent.glob(f"{path.name}{_ORBAX_TMP}*")]:
        remove(attempt)


def make_room(path: Path) -> None:
    """Remove what lies where a step will be saved, unless it is valid.

    Raises:
        WeightsError: it is, or a later one is there.
    """
    step = int(path.name)
    if any(other > step for _, other in _valid(path.parent)):
        raise WeightsError(
            f"{path}: not saved; later steps are there: use another --workdir"
        )
    if not path.exists():
        return
    if read_manifest(path) is not None:
        raise WeightsError(
            f"{path}: this step was saved already, and would be lost; use another "
            "--workdir"
        )
    log.warning("%s: replaced; %s", path, _describe(path))
    remove(path)


def set_aside(path: Path) -> Path:
    """Rename a damaged step, so that it is looked at no more; return where it is."""
    aside = path.with_name(path.name + DAMAGED)
    remove(aside)
    return path.rename(aside)


def retain(folder: Path, keep: int) -> None:
    """Keep the `keep` newest valid steps and the best; remove the others.

    Only what was saved whole counts. A step that was cut short goes as well, a damaged
    one stays for its owner to look at.
    """
    valid = {step: manifest for manifest, step in _valid(folder)}
    for path, step in _numbered(folder):
        if (
            step not in valid
            and (path / "_METADATA").exists()
            and not (path / MANIFEST).exists()
        ):
            remove(path)
    kept = {*sorted(valid)[-keep:], *(m.step for m in by_score(valid.values())[:1])}
    for step in valid.keys() - kept:
        remove(folder / str(step))


def by_score(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Return those with a score, the best first; of equals the newer."""
    scored = [(m.score, m.step, m) for m in manifests if m.score is not None]
    return [m for *_, m in sorted(scored, key=lambda s: s[:2], reverse=True)]


def check_space(folder: Path, step: int, model: int, keep: int) -> None:
    """Refuse to begin what cannot be saved; warn of what may come not to be.

    Args:
        step: bytes of one checkpoint.
        model: bytes of the model that the run ends with.

    Raises:
        WeightsError: not one checkpoint and the model fit.
    """
    free, needed = shutil.disk_usage(folder).free, step + model
    if free < needed:
        raise WeightsError(
            f"{folder}: no room for a checkpoint and the model ({needed:,} bytes "
            f"needed, {free:,} free); free some, or use another --workdir"
        )
    whole = (keep + 2) * step + model  # kept, the best, and the one being written
    if free < whole:
        log.warning(
            "%s: may get full: the run needs up to %s bytes, %s are free",
            folder,
            f"{whole:,}",
            f"{free:,}",
        )
