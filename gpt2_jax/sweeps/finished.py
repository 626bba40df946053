"""The finished runs of a sweep, as their folders have them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gpt2_jax import config as configs
from gpt2_jax.config import FinetuneConfig
from gpt2_jax.errors import UserError
from gpt2_jax.evaluation.statistics import mean_score
from gpt2_jax.storage.sealed import read_json
from gpt2_jax.sweeps.members import Member
from gpt2_jax.training.results import Results
from gpt2_jax.workdir.claim import CONFIG, RESULTS
from gpt2_jax.workdir.paths import absolute
from gpt2_jax.workdir.predictions import PREDICTIONS, read_predictions


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run of a sweep."""

    member: Member
    results: Results
    folder: Path
    score: tuple[float, ...]  # on validation, by its metric and then by its loss


def best_of(finished: Sequence[Finished]) -> Finished:
    """Return the member that is the best on validation, the first of equals."""
    return max(finished, key=lambda each: each.score)


def read_finished(member: Member, workdir: Path) -> Finished | None:
    """Return what a finished member found; None: it is not finished.

    Raises:
        UserError: a run of another config is there.
    """
    folder = workdir / member.name
    if not (folder / CONFIG).is_file():
        return None
    there = configs.from_stored(FinetuneConfig, read_json(folder / CONFIG))
    if there != absolute(member.config):
        raise UserError(
            f"{folder}: holds a run of another config; choose another --workdir"
        )
    if not (folder / RESULTS).is_file():
        return None
    results = Results.from_json(read_json(folder / RESULTS))
    results = dataclasses.replace(results, folder=str(folder))
    return scored(member, results, folder)


def scored(member: Member, results: Results, folder: Path) -> Finished:
    """Return a finished member with what `compare` and `best_of` go by."""
    answers = read_predictions(folder / PREDICTIONS["validation"]).answers
    metrics = (member.config.train.metric, "loss")
    score = tuple(mean_score([answers], metric) for metric in metrics)
    return Finished(member, results, folder, score)
