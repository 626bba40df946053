"""Which runs a sweep holds, and what is kept of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from gpt2_jax.config.fields import check_fields, option, require

KeepModels = Literal["all", "best", "none"]

# Sections of --help: `cv` has only the second.
RUNS, KEPT = "runs of the sweep", "what becomes of the runs"


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Seeds and settings of a sweep; every other flag is that of `finetune`."""

    seeds: str | None = option(
        None,
        "of each setting, such as 0-9 or 0,3,7-9",
        unset="that of --seed",
        metavar="SEEDS",
        section=RUNS,
    )
    grid: tuple[str, ...] = option(
        (),
        "fields of config.json and their values: all combinations are run; one value "
        "that holds a comma is JSON; LOW..HIGH is a range for --samples",
        metavar="FIELD=V1,V2",
        section=RUNS,
    )
    grid_file: str | Path | None = option(
        None,
        "the same as JSON: {FIELD: [V1, V2]}, or a list of settings [{FIELD: V}]",
        metavar="FILE",
        section=RUNS,
    )
    samples: int | None = option(
        None,
        "draw so many settings from the grid; ranges of positive numbers evenly in "
        "their logarithm",
        unset="all combinations",
        metavar="N",
        at_least=1,
        section=RUNS,
    )
    sample_seed: int = option(
        0, "of what --samples draws", at_least=0, below=2**32, section=RUNS
    )
    together: int | None = option(
        None,
        "train so many runs at once that differ in seed and learning rate alone, cut "
        "over the devices",
        unset="1 on a CPU, which gains nothing by it; elsewhere 8 for each device",
        metavar="N",
        at_least=1,
        section=RUNS,
    )
    keep_models: KeepModels = option(
        "all",
        "models and checkpoints of finished runs: of all, of the best on validation, "
        "of none",
        flag="--keep-models",
        section=KEPT,
    )
    max_hours: float | None = option(
        None,
        "stop after so long, also within a run; the same command goes on",
        unset="never",
        metavar="HOURS",
        above=0,
        section=KEPT,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            not (self.grid and self.grid_file),
            "grid and grid_file both say what is run; omit one of them",
        )
        require(
            self.samples is None or bool(self.grid or self.grid_file),
            "samples (--samples) draws from a grid; give --grid",
        )
