"""What the runs of a sweep say together: settings, the best one, and differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpt2_jax.errors import DataError
from gpt2_jax.evaluation.statistics import (
    FEW,
    Answers,
    Difference,
    Summary,
    difference,
    mean_score,
    resampled,
    shares_of_best,
    summarize,
)
from gpt2_jax.sweeps.finished import Finished
from gpt2_jax.workdir.predictions import PREDICTIONS, read_predictions

# The columns of a setting, in percent.
METRICS = {
    "validation": "validation accuracy (%)",
    "test": "test accuracy (%)",
    "macro_f1": "test macro-F1 (%)",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A setting over its runs."""

    name: str
    numbers: Mapping[str, Summary]  # of METRICS
    # How likely it is the best on validation; None: the settings have no run in common.
    best: float | None
    behind: Difference | None  # of the best setting from it, on test; None: as above


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The settings of a sweep, and the best of them on validation."""

    metric: str  # that the best one is chosen by
    rows: tuple[Row, ...]
    best: str  # the name of a setting
    shared: int  # runs that all settings have, by their seeds
    notes: tuple[str, ...]


def numbers_of(finished: Finished) -> dict[str, float]:
    """Return METRICS of one run."""
    results = finished.results
    return {
        "validation": 100 * results.accuracy["validation"],
        "test": 100 * results.accuracy["test"],
        "macro_f1": 100 * results.test["macro_f1"],
    }


def compare(finished: Sequence[Finished]) -> Comparison:
    """Compare the settings of finished runs.

    The best is chosen on validation alone. Differences on test, and how sure the choice
    is, are of the seeds that all settings have, on the same texts: runs and texts are
    resampled together.

    Raises:
        DataError: runs of the same data have read other texts.
    """
    _check_texts(finished)
    settings: dict[str, list[Finished]] = {}
    for each in finished:
        settings.setdefault(each.member.setting, []).append(each)
    metric = finished[0].member.config.train.metric
    validation = _answers(settings, "validation")
    scores = {
        name: np.mean([run.score for run in runs], axis=0).tolist()
        for name, runs in settings.items()
    }
    best = max(settings, key=lambda name: scores[name])
    seeds = set.intersection(*(set(runs) for runs in validation.of.values()))
    notes = _notes(settings, seeds)
    shares = _shares(validation, seeds, metric)
    behind = _differences(_answers(settings, "test"), seeds, best)
    rows = tuple(
        Row(
            name,
            {
                key: summarize([numbers_of(run)[key] for run in runs], percent=True)
                for key in METRICS
            },
            shares.get(name),
            behind.get(name),
        )
        for name, runs in settings.items()
    )
    return Comparison(metric, rows, best, len(seeds), notes)


def _check_texts(finished: Sequence[Finished]) -> None:
    read: dict[Any, tuple[str, str]] = {}
    for each in finished:
        sha256 = each.results.data["sha256"]
        data = each.member.config.data.of_all_folds()
        there = read.setdefault(data, (each.member.name, sha256))
        if there[1] != sha256:
            raise DataError(
                f"{each.folder}: read other texts than {there[0]}: the data have "
                "changed since; choose another --workdir"
            )


@dataclasses.dataclass(frozen=True)
class _Answers:
    """What all runs answered to a part."""

    of: Mapping[str, Mapping[int, Answers]]  # by setting and seed
    same_texts: bool

    def shared(self, seeds: set[int]) -> dict[str, list[Answers]]:
        """Return those of `seeds` for each setting; none where texts differ."""
        if not seeds or not self.same_texts:
            return {}
        return {
            name: [of[seed] for seed in sorted(seeds)] for name, of in self.of.items()
        }


def _answers(settings: Mapping[str, Sequence[Finished]], part: str) -> _Answers:
    answers: dict[str, dict[int, Answers]] = {}
    texts: set[tuple[str, ...]] = set()
    for name, runs in settings.items():
        for run in runs:
            found = read_predictions(run.folder / PREDICTIONS[part])
            texts.add(found.texts)
            seed = run.member.config.train.seed
            answers.setdefault(name, {})[seed] = found.answers
    return _Answers(answers, len(texts) == 1)


def _shares(validation: _Answers, seeds: set[int], metric: str) -> dict[str, float]:
    """Return how likely each setting is the best on validation."""
    runs = validation.shared(seeds)
    if not runs:
        return {}
    shares = shares_of_best(resampled(list(runs.values()), metric))
    return dict(zip(runs, shares.tolist(), strict=True))


def _differences(test: _Answers, seeds: set[int], best: str) -> dict[str, Difference]:
    """Return how far the best setting is ahead of each other one on test."""
    runs = test.shared(seeds)
    if len(runs) < 2:
        return {}
    drawn = dict(zip(runs, resampled(list(runs.values())).T, strict=True))
    means = {name: mean_score(of, "accuracy") for name, of in runs.items()}
    return {
        name: difference(drawn[best], drawn[name], means[best] - means[name])
        for name in runs
        if name != best
    }


def _notes(
    settings: Mapping[str, Sequence[Finished]], seeds: set[int]
) -> tuple[str, ...]:
    """Return what a reader of the intervals must know."""
    notes = []
    fewest = min(len(runs) for runs in settings.values())
    if fewest < FEW:
        notes.append(
            f"with {fewest} {'seed' if fewest == 1 else 'seeds'} an interval over "
            f"seeds is rough, or there is none; give {FEW} or more to --seeds"
        )
    if len(settings) > 1 and len(seeds) < max(map(len, settings.values())):
        notes.append(
            f"the settings have {len(seeds)} seeds in common; only these are compared"
        )
    return tuple(notes)
