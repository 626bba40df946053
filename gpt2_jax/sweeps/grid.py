"""From what a sweep is told, by flags or in a file, to its settings."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.config.fields import alternatives, checked, hints_of
from gpt2_jax.config.sweep import SweepConfig
from gpt2_jax.errors import UserError
from gpt2_jax.storage.sealed import digest
from gpt2_jax.workdir.identity import flat

SEED = "train.seed"
Setting = Mapping[str, Any]  # values by the path of their field

_LONGEST = 80  # characters of a folder's name
_TRIES = 100  # for each setting that is drawn


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers that are drawn from, both ends included."""

    low: float
    high: float
    whole: bool = False


def settings_of(base: FinetuneConfig, sweep: SweepConfig) -> dict[str, Setting]:
    """Return the settings of a sweep by their names, which are those of folders.

    Raises:
        UserError: a field that there is not, a value that it cannot have, or a setting
            that stands twice.
    """
    if sweep.grid_file is not None:
        grids = _read_grids(Path(sweep.grid_file))
    else:
        grids = [dict(map(_parse_axis, sweep.grid))]
        if len(grids[0]) < len(sweep.grid):
            raise UserError("--grid: the same field twice; put its values together")
    axes = [
        {field: _values(base, field, values) for field, values in grid.items()}
        for grid in grids
    ]
    if sweep.samples is None:
        found = [setting for grid in axes for setting in _combinations(grid)]
    else:
        found = _draw(axes, sweep.samples, sweep.sample_seed)
    names = [name_of(setting) for setting in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--grid: the setting {name or 'as given'} stands twice")
    return dict(zip(names, found, strict=True))


def name_of(setting: Setting) -> str:
    """Return the name of a setting, which is one of a folder: `learning_rate=0.001`."""
    names = [field.rpartition(".")[2] for field in setting]
    pieces = []
    for field, value in setting.items():
        name = field.rpartition(".")[2]
        name = field if names.count(name) > 1 else name
        values = value if isinstance(value, (tuple, list)) else (value,)
        pieces.append(f"{name}={'+'.join(map(str, values))}")
    whole = ",".join(pieces)
    plain = re.sub(r"[^\w.,=+-]", "_", whole, flags=re.ASCII)
    if plain == whole and len(plain) <= _LONGEST:
        return plain
    return f"{plain[: _LONGEST - 9]}-{digest(dict(setting))[:8]}"


def _read_grids(path: Path) -> list[dict[str, Any]]:
    """Return the grids of a file: one of lists, or many of one value each."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None
    if isinstance(values, dict) and all(isinstance(v, list) for v in values.values()):
        return [{k: list(map(_range_of, v)) for k, v in values.items()}]
    if isinstance(values, list) and all(isinstance(v, dict) for v in values):
        return [{k: [_range_of(v)] for k, v in grid.items()} for grid in values]
    raise UserError(
        f"{path}: expected {{FIELD: [V1, V2]}}, or a list of settings [{{FIELD: V}}]"
    )


def _parse_axis(text: str) -> tuple[str, list[Any]]:
    """Return a field and its values: of FIELD=V1,V2, where each may be JSON."""
    field, equals, rest = text.partition("=")
    if not equals or not rest:
        raise UserError(f"--grid {text}: expected FIELD=V1,V2")
    values: list[Any] = []
    while rest:
        if rest[0] in '[{"':
            try:
                value, end = json.JSONDecoder().raw_decode(rest)
            except ValueError as error:
                raise UserError(f"--grid {text}: no JSON ({error})") from None
            after = rest[end:]
        else:
            value, comma, after = rest.partition(",")
            value, after = _range_of(value), comma + after
        if after and (after[0] != "," or len(after) == 1):
            raise UserError(f"--grid {text}: expected a comma between two values")
        values.append(value)
        rest = after[1:]
    return field, values


def _range_of(value: Any) -> Any:
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    found = isinstance(value, str) and re.fullmatch(rf"({number})\.\.({number})", value)
    return Range(float(found[1]), float(found[2])) if found else value


def _values(base: FinetuneConfig, field: str, values: Sequence[Any]) -> list[Any]:
    """Return the values of a field in its type.

    Raises:
        UserError: there is no such field, or it cannot have one of them.
    """
    known = flat(base)
    if field not in known:
        raise UserError(
            f"--grid {field}: no such field of config.json; known: {', '.join(known)}"
        )
    if field == SEED:
        raise UserError(f"--grid {field}: seeds are given with --seeds")
    room, _, name = field.rpartition(".")
    hint = hints_of(type(getattr(base, room) if room else base))[name]
    if not values:
        raise UserError(f"--grid {field}: no values")
    return [_value(field, hint, value) for value in values]


def _value(field: str, hint: Any, value: Any) -> Any:
    if isinstance(value, Range):
        kinds = {int, float} & set(alternatives(hint))
        if not kinds:
            raise UserError(f"--grid {field}: is no number, so it has no range")
        if value.low >= value.high:
            raise UserError(f"--grid {field}: the range begins above its end")
        return dataclasses.replace(value, whole=kinds == {int})
    candidates = [value]
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            candidates.insert(0, json.loads(value))
        candidates.append([value])  # of a field of several names
    reasons = []
    for candidate in candidates:
        try:
            return checked(hint, candidate, field)
        except ValueError as error:
            reasons.append(str(error))
    raise UserError(f"--grid {reasons[0]}")


def _combinations(grid: Mapping[str, Sequence[Any]]) -> Iterator[Setting]:
    for values in itertools.product(*grid.values()):
        if ranges := [f for f, v in zip(grid, values, strict=True) if type(v) is Range]:
            raise UserError(f"--grid {ranges[0]}: a range needs --samples")
        yield dict(zip(grid, values, strict=True))


def _draw(
    grids: Sequence[Mapping[str, Sequence[Any]]], count: int, seed: int
) -> list[Setting]:
    """Return `count` different settings, drawn from the grids."""
    random = np.random.default_rng(seed)
    found: dict[str, Setting] = {}
    for _ in range(_TRIES * count):
        grid = grids[int(random.integers(len(grids)))]
        setting = {field: _pick(values, random) for field, values in grid.items()}
        found.setdefault(name_of(setting), setting)
        if len(found) == count:
            return list(found.values())
    ranges = any(
        type(v) is Range for grid in grids for values in grid.values() for v in values
    )
    raise UserError(
        f"--samples {count}: the grid has {len(found)} settings; "
        + ("draw fewer" if ranges else "leave --samples out to run all of them")
    )


def _pick(values: Sequence[Any], random: np.random.Generator) -> Any:
    value = values[int(random.integers(len(values)))]
    if not isinstance(value, Range):
        return value
    low, high = value.low, value.high
    if low > 0:
        drawn = math.exp(random.uniform(math.log(low), math.log(high)))
    else:
        drawn = random.uniform(low, high)
    return round(drawn) if value.whole else float(f"{drawn:.3g}")
