"""Cross-validation: every text is tested once, by a run that was not trained on it.

Shapes: `N` texts that are used, `C` classes, `R` repeats.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.config.sweep import SweepConfig
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.errors import DataError, UserError
from gpt2_jax.evaluation.metrics import evaluate_probabilities, wilson_interval
from gpt2_jax.evaluation.statistics import Answers, resampled
from gpt2_jax.evaluation.summary import format_test
from gpt2_jax.storage.atomic import write_json, write_text
from gpt2_jax.sweeps.finished import Finished
from gpt2_jax.sweeps.members import folds_of
from gpt2_jax.sweeps.page import write_folds_page
from gpt2_jax.sweeps.run import Swept, run_members
from gpt2_jax.workdir import claim
from gpt2_jax.workdir.predictions import PREDICTIONS, read_predictions

FOLDS = 5  # where none are named
OUT_OF_FOLD = "out_of_fold.csv"


@dataclasses.dataclass(frozen=True)
class OutOfFold:
    """What runs answered to texts that they were not trained on."""

    dataset: Dataset
    rows: np.ndarray  # int [N] of the dataset
    probabilities: np.ndarray  # [R, N, C]

    @property
    def labels(self) -> np.ndarray:
        """The classes of the rows, int [N]."""
        return np.asarray(self.dataset.labels)[self.rows]


def cross_validate(
    config: FinetuneConfig | None = None,
    workdir: str | Path | None = None,
    *,
    repeats: int = 1,
    runs: SweepConfig | None = None,
    offline: bool = False,
    trunk_cache: str | Path | None = None,
) -> Swept:
    """Fine-tune once for each fold, and test on that fold.

    Folds hold as much of each class, and no group or text stands in two. The trunk
    runs once over all texts. The same call goes on where another ended.

    Args:
        config: of all runs; its `data.folds` says how many folds (None: 5).
        workdir: as that of `sweep`; it also gets `out_of_fold.csv`: the probabilities
            of every text that is used, means over the repeats.
        repeats: how often the folds are cut anew.
        runs: what is kept of the runs.
        offline, trunk_cache: as those of `sweep`.

    Raises:
        UserError: something that the user gave cannot be used; see `errors`.
        workdir.signals.Interrupted: a signal came, or the time is over.
    """
    config = with_folds(config or FinetuneConfig())

    def report(finished: Sequence[Finished], folder: Path) -> list[str]:
        return write_folds(finished, folder, len(members), offline=offline)

    members = folds_of(config, repeats)
    return run_members(
        members,
        workdir,
        runs or SweepConfig(),
        report,
        claim.FOLDS,
        offline=offline,
        trunk_cache=trunk_cache,
    )


def with_folds(config: FinetuneConfig) -> FinetuneConfig:
    """Return `config` with a number of folds, where it names none.

    Raises:
        UserError: its data have a test part already.
    """
    if config.data.folds is not None:
        return config
    try:
        data = dataclasses.replace(config.data, folds=FOLDS)
    except ValueError as error:
        raise UserError(str(error)) from None
    return dataclasses.replace(config, data=data)


def write_folds(
    finished: Sequence[Finished],
    folder: Path,
    members: int,
    *,
    offline: bool,
) -> list[str]:
    """Write what the folds say together; return it in lines."""
    if len(finished) < members:
        return [f"{len(finished)} of {members} folds are finished"]
    found = out_of_fold(finished, offline=offline)
    write_text(folder / OUT_OF_FOLD, _as_csv(found))
    mean = found.probabilities.mean(0)
    dataset = found.dataset
    scores = evaluate_probabilities(mean, found.labels, dataset.classes)
    folds = [each.results.accuracy["test"] for each in finished]
    accuracy, low, high = _accuracy(found)
    values = {
        "accuracy": accuracy,
        "interval": [low, high],
        "folds": {e.member.name: a for e, a in zip(finished, folds, strict=True)},
        "out_of_fold": scores,
    }
    write_json(folder / claim.FOLDS, values)
    count, repeats = len(found.rows), len(found.probabilities)
    over = f"{count} texts"
    if repeats > 1:
        over += f", the mean of {repeats} repeats; below, of their mean probabilities"
    told = [
        f"out-of-fold accuracy: {100 * accuracy:.2f}%, 95% interval "
        f"{100 * low:.2f} to {100 * high:.2f}% (over {over})",
        f"accuracy by fold: {', '.join(f'{100 * value:.2f}%' for value in folds)}",
        *format_test(scores, dataset.classes),
        f"probabilities of every text: {OUT_OF_FOLD}",
    ]
    write_folds_page(finished, told, folder / "report.html")
    return told


def out_of_fold(finished: Sequence[Finished], *, offline: bool = False) -> OutOfFold:
    """Put the test parts of all folds together.

    Raises:
        DataError: the data have changed since.
    """
    data = finished[0].member.config.data
    dataset = load_dataset(data, offline=offline)
    by_repeat: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for each in finished:
        config = each.member.config.data
        rows = split_dataset(dataset, config).test
        there = read_predictions(each.folder / PREDICTIONS["test"])
        if dataset.sha256 != each.results.data["sha256"]:
            raise DataError(
                f"{each.folder}: the data have changed since; choose another --workdir"
            )
        place = [there.classes.index(name) for name in dataset.classes]
        found = (rows, there.probabilities[:, place])
        by_repeat.setdefault(config.fold_repeat, []).append(found)
    pieces = [
        [np.concatenate(arrays) for arrays in zip(*found, strict=True)]
        for found in by_repeat.values()
    ]
    probabilities = [p[np.argsort(rows)] for rows, p in pieces]
    return OutOfFold(dataset, np.sort(pieces[0][0]), np.stack(probabilities))


def _accuracy(found: OutOfFold) -> tuple[float, float, float]:
    """Return the mean accuracy over the repeats, and its 95% interval over texts."""
    repeats = [Answers(found.labels, each) for each in found.probabilities]
    accuracy = float(np.mean([each.right.mean() for each in repeats]))
    if len(repeats) == 1:
        right = int(repeats[0].right.sum())
        low, high = wilson_interval(right, len(found.rows))
        return accuracy, low, high
    low, high = np.quantile(resampled([repeats])[:, 0], (0.025, 0.975))
    return accuracy, float(low) / 100, float(high) / 100


def _as_csv(found: OutOfFold) -> str:
    """Return a line per text, in the order of the data; rows count from 1."""
    out, classes = io.StringIO(), found.dataset.classes
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["row", "text", "label", "predicted", *(f"p_{name}" for name in classes)]
    )
    for row, p in zip(found.rows.tolist(), found.probabilities.mean(0), strict=True):
        text, label = found.dataset.texts[row], classes[found.dataset.labels[row]]
        cells = [f"{value:.6f}" for value in p]
        writer.writerow([row + 1, text, label, classes[int(p.argmax())], *cells])
    return out.getvalue()
