"""The runs of a sweep: each setting with each seed, or with each fold."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.config.sweep import SweepConfig
from gpt2_jax.errors import UserError
from gpt2_jax.sweeps.grid import SEED, Setting, name_of, settings_of


@dataclasses.dataclass(frozen=True)
class Member:
    """A run of a sweep."""

    name: str  # of its folder
    setting: str  # all that share it differ in their seeds, or in their folds
    config: FinetuneConfig


def members_of(base: FinetuneConfig, sweep: SweepConfig) -> list[Member]:
    """Return the runs of a sweep, the seeds of each setting one after the other.

    Raises:
        UserError: a field that there is not, a value that it cannot have, or two
            settings that are one.
    """
    seeds = [base.train.seed] if sweep.seeds is None else parse_seeds(sweep.seeds)
    settings = settings_of(base, sweep)
    members = [
        Member(
            f"{name}-seed={seed}" if name else f"seed={seed}",
            name or "as given",
            with_fields(base, {**setting, SEED: seed}),
        )
        for name, setting in settings.items()
        for seed in seeds
    ]
    known: dict[FinetuneConfig, str] = {}
    for member in members:
        if (same := known.setdefault(member.config, member.name)) != member.name:
            raise UserError(f"{same} and {member.name} are the same run; omit one")
    return members


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of `0-9` or `0,3,7-9`.

    Raises:
        UserError: it is nothing of the kind, or holds a seed twice.
    """
    seeds: list[int] = []
    for piece in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", piece)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not 0 <= last - first < 10_000:
            raise UserError(f"--seeds {text}: expected such as 0-9 or 0,3,7-9")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text}: holds a seed twice")
    return seeds


def with_fields(base: FinetuneConfig, setting: Setting) -> FinetuneConfig:
    """Return `base` with the values of a setting.

    Raises:
        UserError: values that do not go together.
    """
    rooms: dict[str, dict[str, Any]] = {}
    for field, value in setting.items():
        room, _, name = field.rpartition(".")
        rooms.setdefault(room, {})[name] = value
    try:
        changes = {
            room: dataclasses.replace(getattr(base, room), **values)
            for room, values in rooms.items()
            if room
        }
        return dataclasses.replace(base, **changes, **rooms.get("", {}))
    except ValueError as error:
        raise UserError(f"{name_of(setting) or 'the sweep'}: {error}") from None


def folds_of(base: FinetuneConfig, repeats: int) -> list[Member]:
    """Return the runs of a cross-validation, which share all but the test part."""
    data = base.data
    assert data.folds is not None
    return [
        Member(
            f"repeat={repeat}-fold={fold}" if repeats > 1 else f"fold={fold}",
            "cross-validation",
            with_fields(base, {"data.fold": fold, "data.fold_repeat": repeat}),
        )
        for repeat in range(repeats)
        for fold in range(data.folds)
    ]


def in_order(members: Sequence[Member]) -> list[Member]:
    """Return the members so that those which share work come one after the other.

    First those of the same weights, then of the same texts and trunk.
    """
    groups: dict[Any, int] = {}

    def place(member: Member) -> tuple[int, ...]:
        config, train = member.config, member.config.train
        weights = (config.weights, config.layout)
        model = (config.pool, config.causal, config.max_length, config.dtype)
        trunk = (train.trainable, train.dropout_rate, train.lora_rank, train.devices)
        keys = (weights, config.data.of_all_folds(), (*model, *trunk))
        return tuple(groups.setdefault(key, len(groups)) for key in keys)

    return sorted(members, key=place)
