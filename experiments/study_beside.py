"""What stands beside the runs of a study: what else learns from the same texts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.study_results import Row, Summary, summarize, write_json
from gpt2_jax.config import FinetuneConfig, to_dict
from gpt2_jax.storage.sealed import digest

if TYPE_CHECKING:
    from experiments.study import Study

# A config and a seed to the numbers of each baseline.
Measure = Callable[[FinetuneConfig, int], Mapping[str, Mapping[str, float]]]


@dataclasses.dataclass(frozen=True)
class Beside:
    """A baseline of the rows that share their texts."""

    places: tuple[int, ...]  # of those rows among the settings
    name: str
    numbers: Mapping[str, Summary]


def beside(study: Study, found: Sequence[Sequence[Row]], workdir: Path) -> list[Beside]:
    """Return the baselines of all rows that have a run, for the seeds they have.

    They are measured once and kept in `workdir`.
    """
    if study.beside is None:
        return []
    places_of: dict[str, list[int]] = {}
    for place, (setting, rows) in enumerate(zip(study.settings, found, strict=True)):
        if rows:
            # With other metrics or flags of the study the numbers are others.
            flags = {"metrics": [*study.metrics], "command": study.command}
            data = digest(flags | {"data": to_dict(setting.config.data)})[:12]
            places_of.setdefault(data, []).append(place)
    return [
        Beside(tuple(places), name, numbers)
        for data, places in places_of.items()
        for name, numbers in _over_seeds(
            study.beside,
            study.settings[places[0]].config,
            sorted({row.seed for place in places for row in found[place]}),
            workdir / "beside" / data,
        ).items()
    ]


def _over_seeds(
    measure: Measure, config: FinetuneConfig, seeds: Sequence[int], folder: Path
) -> dict[str, dict[str, Summary]]:
    of_seeds = [_of_seed(measure, config, seed, folder) for seed in seeds]
    return {
        name: {
            metric: summarize([numbers[name][metric] for numbers in of_seeds])
            for metric in metrics
        }
        for name, metrics in of_seeds[0].items()
    }


def _of_seed(
    measure: Measure, config: FinetuneConfig, seed: int, folder: Path
) -> Mapping[str, Mapping[str, float]]:
    path = folder / f"seed{seed}.json"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, measure(config, seed))
    return json.loads(path.read_text("utf-8"))
