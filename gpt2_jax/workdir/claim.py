"""Which run a folder belongs to."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2_jax import config as configs
from gpt2_jax.checkpoints.step_folders import find_steps
from gpt2_jax.errors import UserError
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.storage.sealed import digest, read_json
from gpt2_jax.workdir import identity
from gpt2_jax.workdir.identity import (
    COURSE,
    FREE,
    LOSS,
    TOLD,
    AnyConfig,
    Difference,
)

log = logging.getLogger(__name__)


CONFIG, RUN, RESULTS = "config.json", "run.json", "results.json"
SWEEP, FOLDS = "sweep.json", "cv.json"
_HOLDS = {CONFIG: "a run", SWEEP: "a sweep", FOLDS: "a cross-validation"}


def refuse_others(workdir: Path, own: str) -> None:
    """Refuse a folder that another command has written its results into.

    Args:
        own: the file that tells of this command: CONFIG, SWEEP or FOLDS.

    Raises:
        UserError: there is that of another one.
    """
    for name, what in _HOLDS.items():
        if name != own and (workdir / name).exists():
            raise UserError(
                f"{workdir}: holds {what} already ({name}); choose another --workdir"
            )


def claim(
    workdir: Path,
    config: AnyConfig,
    run: Mapping[str, Any],
    *,
    resume: bool,
    allow_data_change: bool = False,
    began: float | None = None,
) -> None:
    """Make `workdir` this run's: write its config.json, and `run` into run.json.

    What a resumed run may change (`identity.FREE`) is recorded there. `began`: when it
    did, in seconds since 1970; None: now.

    Raises:
        UserError: it holds another run, or, to resume, one of other data, weights or
            settings.
    """
    refuse_others(workdir, CONFIG)
    path = workdir / CONFIG
    changes: list[list[Difference]] = []
    own, started = secrets.token_hex(4), round(began or time.time(), 3)
    written = [digest(configs.to_dict(config))]
    if path.exists():
        if not resume:
            raise UserError(
                f"{workdir}: holds a run already; choose another --workdir, or "
                "--resume it"
            )
        theirs = _read_run(workdir)
        found = _read_config(path, type(config), theirs.get("config_sha256"))
        new = identity.differences(identity.flat(found), identity.flat(config))
        new += identity.identity_differences(theirs["is"], run)
        _check_changes(workdir, new, allow_data_change=allow_data_change)
        if not new:
            return
        if any(name in TOLD for name, *_ in new):
            _retell(workdir, new)
        changes, own = [*theirs["changes"], new], _id_of(theirs)
        started = theirs.get("started")
        written.append(digest(configs.to_dict(found)))  # if a kill comes in between
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        # A folder is a run's once its config.json is there: that comes last.
        values = {
            "id": own,
            "started": started,
            "is": run,
            "changes": changes,
            "config_sha256": written,
        }
        write_json(workdir / RUN, values)
        write_json(path, configs.to_dict(config))
    except OSError as error:
        raise UserError(f"{workdir}: cannot be written ({error.strerror})") from error


def _retell(workdir: Path, changes: list[Difference]) -> None:
    """Let a finished run be evaluated again: from its checkpoints, without a step.

    Raises:
        UserError: they are gone, so that it would be trained again.
    """
    results = workdir / RESULTS
    if results.exists() and not find_steps(workdir / "checkpoints"):
        raise UserError(
            f"{workdir}: is finished, and its checkpoints are gone; without them "
            f"nothing of it can be changed ({identity.describe(changes)}): give "
            f"--config {workdir / CONFIG}, or choose another --workdir"
        )
    results.unlink(missing_ok=True)


def _read_config(
    path: Path, kind: type[AnyConfig], written: Sequence[str] | None
) -> AnyConfig:
    """Read config.json; `written` are the hashes it may have, None: not known."""
    values = read_json(path)
    if written is not None and digest(values) not in written:
        raise UserError(
            f"{path}: damaged, or changed by hand since the run wrote it; put the old "
            "one back and change settings by flags, or choose another --workdir"
        )
    try:
        return configs.from_stored(kind, values, str(path))
    except ValueError as error:
        raise UserError(
            f"{error}; it was written by another version: choose another --workdir"
        ) from None


def _read_run(workdir: Path) -> Mapping[str, Any]:
    path = workdir / RUN
    if not path.exists():
        raise UserError(
            f"{workdir}: has no {RUN}, so its data and weights cannot be compared; an "
            "older version began it: choose another --workdir"
        )
    values = read_json(path)
    if not (isinstance(values.get("is"), dict) and "changes" in values):
        raise UserError(f"{path}: damaged; choose another --workdir")
    return values


def _check_changes(
    workdir: Path, changes: list[Difference], *, allow_data_change: bool
) -> None:
    refused = [change for change in changes if change[0] not in FREE]
    data = [c for c in refused if c[0] == "data.sha256" or "data.rows" in c[0]]
    if allow_data_change and data:
        log.warning(
            "resumed with other data (%s): the steps before saw the old ones",
            identity.describe(data),
        )
        refused = [change for change in refused if change not in data]
    if refused:
        hint = ""
        if any(name == LOSS for name, *_ in refused):
            hint = " and the loss=... that it began with"
        if refused == data:
            hint = ", or accept the new data with --allow-data-change"
        raise UserError(
            f"{workdir}: was started with another config or other data ("
            f"{identity.describe(refused)}); resume with --config {workdir / CONFIG}"
            f"{hint}, or choose another --workdir"
        )
    for change in changes:
        log.info("resumed with %s", identity.describe([change]))
    if any(name in COURSE for name, *_ in changes):
        log.info("from here on it is not the run that it would have been uninterrupted")


def stored_id(workdir: Path) -> str:
    """Return the 8 letters that the run in `workdir` has, and no other.

    Raises:
        UserError: there is none, or it is damaged.
    """
    return _id_of(_read_run(workdir))


def _id_of(told: Mapping[str, Any]) -> str:
    """Return the id in what run.json holds; earlier versions wrote none."""
    return told.get("id") or digest(told["is"])[:8]


def stored_start(workdir: Path) -> float | None:
    """Return when the run in `workdir` began first, in seconds since 1970.

    None: an earlier version began it.

    Raises:
        UserError: there is none, or it is damaged.
    """
    started = _read_run(workdir).get("started")
    return float(started) if isinstance(started, int | float) else None


def stored_classes(workdir: Path) -> list[str] | None:
    """Return the classes of the run in `workdir`, in its order; None: there is none."""
    if not (workdir / RUN).exists():
        return None
    told = read_json(workdir / RUN).get("is")
    classes = told.get("data.classes") if isinstance(told, dict) else None
    return classes if isinstance(classes, list) else None


def finished_results(workdir: Path, steps: int) -> dict[str, Any] | None:
    """Return the results of the run in `workdir`, if it has taken all `steps`."""
    path = workdir / RESULTS
    results = read_json(path) if path.exists() else {}
    return results if results.get("steps") == steps else None
