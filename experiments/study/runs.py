"""The runs of a study in its workdir: one is made, or read where it is finished."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.study.results import read_results
from experiments.study.spec import Row, Setting, Study
from gpt2_jax import finetune
from gpt2_jax.config import FinetuneConfig, from_stored, to_dict
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.storage.sealed import digest
from gpt2_jax.sweeps.grid import SEED
from gpt2_jax.sweeps.members import with_fields
from gpt2_jax.workdir.identity import flat
from gpt2_jax.workdir.memo import Memo

log = logging.getLogger("gpt2_jax.study")

NUMBERS = "numbers.json"  # of a finished run
HEAVY = ("checkpoints", "model")
CODE = ("gpt2_jax", "experiments/*.py")  # what a run's commit stands for
ROOT = Path(__file__).parents[2]

# As `finetune`: a config and a run's folder to its results.json.
Runner = Callable[..., Mapping[str, Any]]


def folder_of(config: FinetuneConfig) -> str:
    """Return a name for the runs of `config`: rows that are alike share them."""
    defaults, changes = flat(FinetuneConfig()), flat(config)
    changes = {k: v for k, v in changes.items() if v != defaults[k]}
    for name in ("train.seed", "lexical"):
        changes.pop(name, None)
    return digest(changes)[:12]


def with_seed(
    study: Study, setting: Setting, seed: int, workdir: Path
) -> tuple[FinetuneConfig, Path]:
    """Return the config of a run, and its folder."""
    config = with_fields(setting.config, {SEED: seed, "lexical": study.lexical})
    return config, workdir / f"{folder_of(config)}-seed{seed}"


def seeds_of(setting: Setting, workdir: Path) -> list[int]:
    """Return the seeds of the runs of `setting`, finished or not."""
    prefix = f"{folder_of(setting.config)}-seed"
    ends = [run.name.removeprefix(prefix) for run in workdir.glob(f"{prefix}*")]
    return sorted(int(end) for end in ends if end.isdecimal())  # not one moved away


def run_once(
    study: Study,
    setting: Setting,
    seed: int,
    workdir: Path,
    *,
    runner: Runner = finetune,
    keep_models: bool = False,
    memo: Memo | None = None,
) -> Row:
    """Make a run, or read it where it is finished; runs share what is in `memo`."""
    if (row := finished(study, setting, seed, workdir)) is not None:
        return row
    config, run = with_seed(study, setting, seed, workdir)
    resume = (run / "config.json").is_file()
    results = runner(config, run, resume=resume, memo=memo)
    numbers = {**run_numbers(results), **study.measure(run, results)}
    values = {
        "numbers": numbers,
        "seconds": results["seconds"]["total"],
        "device": results["device"],
        "commit": commit_of(ROOT),
    }
    write_json(run / NUMBERS, values)
    for name in () if keep_models else HEAVY:
        shutil.rmtree(run / name, ignore_errors=True)
    row = finished(study, setting, seed, workdir)
    assert row is not None
    return row


def run_numbers(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of results.json: accuracies in percent, others as they are."""
    numbers = {part: 100 * value for part, value in results["accuracy"].items()}
    if results["baselines"]["tfidf_logreg"] is not None:
        numbers["tfidf"] = 100 * results["baselines"]["tfidf_logreg"]
    for name in ("precision", "recall", "f1", "roc_auc", "brier", "ece"):
        if isinstance(results["test"].get(name), float):
            numbers[name] = results["test"][name]
    return numbers


def finished(study: Study, setting: Setting, seed: int, workdir: Path) -> Row | None:
    """Return what a finished run gave, or None.

    Raises:
        ValueError: the run there is another one, or lacks a number of the study.
    """
    config, run = with_seed(study, setting, seed, workdir)
    if not (run / NUMBERS).is_file():
        return None
    there = json.loads((run / "config.json").read_text("utf-8"))
    if from_stored(FinetuneConfig, there) != config:
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
        config, run = with_seed(study, settings[folder], row.seed, workdir)
        if not (run / NUMBERS).is_file():
            values = dataclasses.asdict(row)
            del values["seed"], values["run"]  # its folder's name
            run.mkdir(parents=True, exist_ok=True)
            write_json(run / "config.json", to_dict(config))
            write_json(run / NUMBERS, values)


def commit_of(root: Path) -> str:
    """Return the commit of the code under `root`, with a + where it was changed."""
    git = ["git", "-C", str(root)]
    asked = (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", *CODE])
    try:
        head, changed = (
            subprocess.check_output([*git, *words], text=True, stderr=subprocess.PIPE)
            for words in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.strip() + "+" * bool(changed)
