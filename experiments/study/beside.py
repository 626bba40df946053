"""The baselines of a study: what else learns from the same texts as its runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.study.spec import (
    Baseline,
    MeasureBaselines,
    Row,
    Study,
    summarize_metric,
)
from gpt2_jax.config import FinetuneConfig, to_dict
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.storage.sealed import digest


def measure_baselines(
    study: Study, found: Sequence[Sequence[Row]], workdir: Path
) -> list[Baseline]:
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
    baselines = []
    for data, places in places_of.items():
        seeds = sorted({row.seed for place in places for row in found[place]})
        config, folder = study.settings[places[0]].config, workdir / "beside" / data
        of_seeds = [measured(study.beside, config, seed, folder) for seed in seeds]
        for name, metrics in of_seeds[0].items():
            numbers = {
                m: summarize_metric(
                    study.metrics.get(m, ""), [each[name][m] for each in of_seeds]
                )
                for m in metrics
            }
            baselines.append(Baseline(tuple(places), name, numbers))
    return baselines


def measured(
    measure: MeasureBaselines, config: FinetuneConfig, seed: int, folder: Path
) -> Mapping[str, Mapping[str, float]]:
    """Return what `measure` gives, from `folder` where it is kept."""
    path = folder / f"seed{seed}.json"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, dict(measure(config, seed)))
    return json.loads(path.read_text("utf-8"))
