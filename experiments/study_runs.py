"""The runs of a study in its workdir: which are finished, and what they gave."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.study_results import Row, read_results, write_json
from gpt2_jax.config import FinetuneConfig, from_dict, to_dict
from gpt2_jax.storage.sealed import digest
from gpt2_jax.workdir.identity import flat

if TYPE_CHECKING:
    from experiments.study import Setting, Study

log = logging.getLogger("gpt2_jax.study")

NUMBERS = "numbers.json"  # of a finished run


def folder_of(config: FinetuneConfig) -> str:
    """Return a name for the runs of `config`: rows that are alike share them."""
    defaults, changes = flat(FinetuneConfig()), flat(config)
    changes = {k: v for k, v in changes.items() if v != defaults[k]}
    changes.pop("train.seed", None)
    return digest(changes)[:12]


def of_seed(setting: Setting, seed: int, workdir: Path) -> tuple[FinetuneConfig, Path]:
    """Return the config of a run, and its folder."""
    train = dataclasses.replace(setting.config.train, seed=seed)
    config = dataclasses.replace(setting.config, train=train)
    return config, workdir / f"{folder_of(config)}-seed{seed}"


def finished(study: Study, setting: Setting, seed: int, workdir: Path) -> Row | None:
    """Return what a finished run gave, or None.

    Raises:
        ValueError: the run there is another one, or lacks a number of the study.
    """
    config, run = of_seed(setting, seed, workdir)
    if not (run / NUMBERS).is_file():
        return None
    there = json.loads((run / "config.json").read_text("utf-8"))
    if from_dict(FinetuneConfig, there) != config:
        raise ValueError(f"{run}: a run of another config; move it away")
    values = json.loads((run / NUMBERS).read_text("utf-8"))
    if lacking := [name for name in study.metrics if name not in values["numbers"]]:
        raise ValueError(
            f"{run}: finished without {', '.join(lacking)}; delete it to run it again"
        )
    return Row(seed=seed, run=run.name, **values)


def adopt(study: Study, results: Path, workdir: Path) -> None:
    """Put the runs of a results.csv into `workdir`, as finished.

    One that lacks a metric, as the study had it not yet, is left out.

    Raises:
        ValueError: no such file, or a run in it has none of the settings.
    """
    settings = {folder_of(setting.config): setting for setting in study.settings}
    rows = read_results(results)
    folders = [row.run.removesuffix(f"-seed{row.seed}") for row in rows]
    if unknown := sorted(set(folders) - set(settings)):
        raise ValueError(
            f"{results}: runs of none of this study's settings: {', '.join(unknown)}; "
            "this table can only be made anew"
        )
    for row, folder in zip(rows, folders, strict=True):
        if lacking := [name for name in study.metrics if name not in row.numbers]:
            log.info("%s has no %s: not taken", row.run, ", ".join(lacking))
            continue
        config, run = of_seed(settings[folder], row.seed, workdir)
        if not (run / NUMBERS).is_file():
            values = dataclasses.asdict(row)
            del values["seed"], values["run"]  # its folder's name
            run.mkdir(parents=True, exist_ok=True)
            write_json(run / "config.json", to_dict(config))
            write_json(run / NUMBERS, values)


def seeds_of(setting: Setting, workdir: Path) -> list[int]:
    """Return the seeds of the runs of `setting`, finished or not."""
    prefix = f"{folder_of(setting.config)}-seed"
    ends = [run.name.removeprefix(prefix) for run in workdir.glob(f"{prefix}*")]
    return sorted(int(end) for end in ends if end.isdecimal())  # not one moved away
