"""The runs that lie in a folder, as a list: what differs, and what each found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2_jax.errors import UserError
from gpt2_jax.storage.sealed import read_json
from gpt2_jax.workdir.claim import CONFIG, RESULTS, RUN

# What runs are sorted by, beside a setting; numbers from the highest, as dates.
NUMBERS = ("validation", "test", "macro_f1", "seconds", "date")
_MODEL_ONLY = ("checkpoints", "model")


@dataclasses.dataclass(frozen=True)
class Listed:
    """A run in a list."""

    name: str  # its path in the folder that is listed
    folder: Path
    date: str | None  # when it ended
    data: str | None
    settings: Mapping[str, Any]  # all of config.json, as {"train.seed": 0}
    # validation, test and macro_f1 in percent, and seconds; none of an unfinished run.
    numbers: Mapping[str, float]

    def value(self, key: str) -> Any:
        """Return a number, the date, or a setting."""
        known = {"name": self.name, "date": self.date, "data": self.data}
        return {**self.settings, **known, **self.numbers}.get(key)


def find_runs(folder: Path) -> list[Listed]:
    """Return the runs in a folder and in those below it, by name.

    Raises:
        UserError: there is no such folder, or no run in it.
        WeightsError: a file of a run is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the one that holds the runs")
    found = [_listed(path, folder) for path in sorted(_folders(folder))]
    if not found:
        raise UserError(f"{folder}: no run in it; name the folder that holds the runs")
    return found


def _folders(folder: Path) -> Iterator[Path]:
    if (folder / CONFIG).is_file() and (folder / RUN).is_file():
        yield folder
        return
    for below in folder.iterdir():
        hidden = below.name.startswith(".") or below.name in _MODEL_ONLY
        if below.is_dir() and not below.is_symlink() and not hidden:
            yield from _folders(below)


def _listed(run: Path, folder: Path) -> Listed:
    config, numbers, results = read_json(run / CONFIG), {}, {}
    if (run / RESULTS).is_file():
        results = read_json(run / RESULTS)
    if "accuracy" in results:
        numbers = {
            part: 100 * results["accuracy"][part] for part in ("validation", "test")
        }
        numbers["seconds"] = results["seconds"]["total"]
        if "macro_f1" in results["test"]:  # not of the first versions
            numbers["macro_f1"] = 100 * results["test"]["macro_f1"]
    name = str(run.relative_to(folder)) if run != folder else run.name
    data = results.get("data", {}).get("name")
    return Listed(name, run, results.get("date"), data, _flat(config), numbers)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def select(runs: Sequence[Listed], where: Sequence[str], sort: str) -> list[Listed]:
    """Return the runs that have all the values of `where`, sorted.

    Args:
        where: FIELD=VALUE each, of config.json; `data` is the name of the data.
        sort: name, a setting, or one of NUMBERS, the highest first.

    Raises:
        UserError: no run has such a field.
    """
    known = {"name", "data", *NUMBERS, *(key for run in runs for key in run.settings)}
    for condition in where:
        field, equals, value = condition.partition("=")
        if not equals or field not in known:
            raise UserError(
                f"--where {condition}: expected FIELD=VALUE with a field of "
                "config.json, such as train.seed=0"
            )
        runs = [run for run in runs if _is(run.value(field), value)]
    if sort not in known:
        raise UserError(
            f"--sort {sort}: no such column; give name, {', '.join(NUMBERS)} or a "
            "field of config.json"
        )

    def key(run: Listed) -> tuple[bool, bool, Any]:
        value = run.value(sort)
        number = isinstance(value, (int, float))
        return value is not None, not number, value if number else _shown(value)

    return sorted(runs, key=key, reverse=sort in NUMBERS)


def differing(runs: Sequence[Listed]) -> list[str]:
    """Return the settings that are not the same in all runs."""
    fields = dict.fromkeys(key for run in runs for key in run.settings)
    return [
        field
        for field in fields
        if len({_shown(run.settings.get(field)) for run in runs}) > 1
    ]


def listing(runs: Sequence[Listed]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of a table of runs."""
    settings = differing(runs)
    columns = ("validation", "test", "macro_f1", "seconds")
    head = ["run", "date", "data", *settings, "validation %", "test %", "macro-F1 %"]
    lines = [
        [
            *(run.name, (run.date or "not finished")[:16], run.data or ""),
            *(_shown(run.settings.get(field)) for field in settings),
            *(_number(run.numbers.get(column)) for column in columns),
        ]
        for run in runs
    ]
    return [*head, "seconds"], lines


def as_json(runs: Sequence[Listed]) -> list[dict[str, Any]]:
    """Return the runs as JSON has them."""
    return [
        {
            "run": run.name,
            "folder": str(run.folder),
            "date": run.date,
            "data": run.data,
            **run.numbers,
            "settings": dict(run.settings),
        }
        for run in runs
    ]


def _is(value: Any, told: str) -> bool:
    """Return whether `told` is a value: as the table shows it, or as JSON has it."""
    if told in (_shown(value), str(value)):
        return True
    try:
        parsed = json.loads(told if isinstance(value, str) else told.lower())
    except ValueError:
        return False
    number = isinstance(value, bool) == isinstance(parsed, bool)  # 1 is not true
    return number and parsed == (list(value) if isinstance(value, tuple) else value)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value))
    return "" if value is None else str(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
